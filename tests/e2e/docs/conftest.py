"""A platform in its embedded form and a folder of real pictures, as a reader of the documentation has them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
A_CLASS = 40
"""Pictures of each class: enough to learn from, few enough for seconds."""


@pytest.fixture(scope="module")
def environment(short_tmp: Path) -> Iterator[dict[str, str]]:
    """The environment of a reader's shell, with a platform that answers."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("MODELWRIGHT_")},
        "MODELWRIGHT_HOME": str(short_tmp / "home"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "300",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def modelwright(*arguments: str) -> None:
        command = [sys.executable, "-m", "modelwright.cli", *arguments]
        done = subprocess.run(command, env=environment, cwd=short_tmp, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    modelwright("up", "--detach", "--port", "0")
    environment["MODELWRIGHT_URL"] = json.loads((short_tmp / "home" / "platform.json").read_text())["url"]
    yield environment
    modelwright("down")


@pytest.fixture(scope="module")
def folder(short_tmp: Path) -> Path:
    """A folder with `pictures/CLASS/NAME.png`: real handwritten digits."""
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    seen = dict.fromkeys(range(10), 0)
    for number, (pixels, label) in enumerate(zip(data.images, data.target, strict=True)):
        if seen[label] < A_CLASS:
            seen[label] += 1
            place = short_tmp / "work" / "pictures" / str(label) / f"{number:04}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * 15.9).astype("uint8")).save(place)
    return short_tmp / "work"
