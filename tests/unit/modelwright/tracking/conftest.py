"""Training scripts, each its own process, logging to a folder of the test."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start_script(home: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a training script against a server; `modelwright` is imported in it already."""
    started: list[subprocess.Popen[str]] = []

    def start(url: str, body: str) -> subprocess.Popen[str]:
        file = tmp_path / f"train{len(started)}.py"
        file.write_text("import modelwright, os, time, sys\n" + body)
        environment: dict[str, Any] = {**os.environ, "MODELWRIGHT_HOME": str(home), "MODELWRIGHT_URL": url}
        environment["PYTHONPATH"] = str(REPOSITORY)
        pipe = subprocess.PIPE
        process = subprocess.Popen([sys.executable, file], env=environment, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def script(start_script: Callable[..., subprocess.Popen[str]]) -> Callable[..., str]:
    """Run a training script to its end and return what it printed; it must succeed."""

    def run(url: str, body: str) -> str:
        process = start_script(url, body)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    return run
