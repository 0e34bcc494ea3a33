"""Real digits as a folder, and searches over small networks on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from services.train_svc.engine.training.jobfile import JobFile, read_jobfile

BOUNDS = {"train": (0, 96), "val": (96, 160)}


@pytest.fixture(scope="session")
def digit_folder(digits: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a class, in a folder a split."""
    root = tmp_path_factory.mktemp("digits")
    for split, (start, end) in BOUNDS.items():
        for index in range(start, end):
            folder = root / split / str(digits[1][index])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits[0][index, 0]).save(folder / f"{index}.png")
    return root


@pytest.fixture
def write_search(digit_folder: Path, tmp_path: Path) -> Callable[..., JobFile]:
    """Writes a file of a search over a small network, and reads it; `search` and `train` replace what is there."""

    def write(search: dict[str, Any], train: dict[str, Any] | None = None, name: str = "search") -> JobFile:
        settings = {"model": {"template": "mlp", "hidden": [12]}, "epochs": 2, "batch_size": 16, "device": "cpu"}
        lr = {"optimizer.lr": {"log": [1e-4, 1e-1]}, "model.dropout": {"float": [0, 0.5]}}
        found = {
            "data": str(digit_folder),
            "folder": f"runs/{name}",
            "train": {**settings, **(train or {})},
            "search": {"trials": 6, "random_trials": 2, "parameters": lr, **search},
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(found), "utf-8")
        return read_jobfile(path)

    return write
