"""A small state, notes, and a disk that gets full."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from services.train_svc.engine.checkpointing import Note
from services.train_svc.engine.checkpointing.dtypes import Array


@pytest.fixture
def make_note() -> Callable[..., Note]:
    """Makes the note of a step; metrics are of that step unless told."""

    def make(step: int, **changes: object) -> Note:
        told = {"evaluated_step": step if "metrics" in changes else None, **changes}
        return Note(
            step=step,
            steps_per_epoch=5,
            spec_digest="sha256:" + "1" * 64,
            dataset_digest="",
            engine="torch",
            engine_version="2.13.0",
            **told,  # type: ignore[arg-type]  # a test's own
        )

    return make


@pytest.fixture
def state() -> dict[str, Array]:
    """Arrays of several formats, large and small, one empty and one without axes."""
    random = np.random.default_rng(0)
    return {
        "model/a.weight": random.random((300, 700), dtype=np.float32),
        "model/a.count": np.array(3),
        "model/mask": np.array([True, False, True]),
        "optimizer/a.weight/exp_avg": random.random((300, 700)),
        "optimizer/codes": random.integers(0, 256, (7, 9), dtype=np.uint8),
        "ema/none": np.zeros((0, 4), np.float16),
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
