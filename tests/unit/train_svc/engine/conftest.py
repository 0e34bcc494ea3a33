"""Real digits, in memory and as a record set."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from services.common.records import Record, RecordSet, RecordWriter
from services.common.storage import BlobStore, FolderStorage
from services.train_svc.engine.pictures import MemorySplit


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    # All models share the code of `forward` and `step`, of which Dynamo keeps eight graphs and then refuses.
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [1797, 1, 8, 8] and labels int64 [1797] of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    scaled = np.round(pictures * 255 / 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    return scaled, labels.astype(np.int64)


@pytest.fixture
def make_split(digits: tuple[np.ndarray, np.ndarray]) -> Callable[[int, int], MemorySplit]:
    """Makes a split of the digits from one index to another."""

    def make(start: int, end: int) -> MemorySplit:
        pictures, labels = digits[0][start:end], digits[1][start:end]
        return MemorySplit(ids=[f"digit-{index}" for index in range(start, end)], labels=labels, data=pictures)

    return make


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(FolderStorage(tmp_path / "storage"))


@pytest.fixture
def write_records(blobs: BlobStore, tmp_path: Path) -> Callable[..., RecordSet]:
    """Commits pictures [H, W] or [H, W, 3] with split and label as a record set and opens it."""

    def write(rows: list[tuple[str, str, np.ndarray]], shape: list[int] | None = None) -> RecordSet:
        labels = sorted({label for _, label, _ in rows if label})
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        with RecordWriter(blobs, scratch) as writer:
            for index, (split, label, picture) in enumerate(rows):
                file = io.BytesIO()
                Image.fromarray(picture).save(file, "PNG")
                names = (label,) if label else ()
                record = Record(id=f"{split}/{index}.png", split=split, labels=names, media_type="image/png")
                writer.add(record, file.getvalue())
            written = writer.finish(schema={"labels": labels, "shape": shape or []}, statistics={})
        return RecordSet.open(blobs, written.digest, tmp_path / "cache")

    return write


@pytest.fixture
def digit_records(digits: tuple[np.ndarray, np.ndarray], write_records: Callable[..., RecordSet]) -> RecordSet:
    """Some hundred digits in three splits."""
    bounds = {"train": (0, 320), "validation": (320, 400), "test": (400, 500)}
    rows = [
        (split, str(digits[1][index]), digits[0][index, 0])
        for split, (start, end) in bounds.items()
        for index in range(start, end)
    ]
    return write_records(rows, [8, 8, 1])
