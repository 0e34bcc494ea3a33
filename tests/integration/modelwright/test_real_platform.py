"""The SDK and the command line against the whole platform, started as users start it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelwright import Client

REPOSITORY = Path(__file__).parents[3]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def mw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """Run `mw` or a script in a folder of its own, in which the platform runs."""
    home = tmp_path_factory.mktemp("platform")
    environment = {**os.environ, "MODELWRIGHT_HOME": str(home), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    environment.pop("MODELWRIGHT_URL", None)

    def run(*arguments: str, script: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        tail = ["-c", script] if script else ["-m", "modelwright.cli", *arguments]
        command = [sys.executable, *tail]
        return subprocess.run(
            command, env={**environment, **more}, capture_output=True, text=True, timeout=120, check=False
        )

    started = run("up", "--detach", "--port", "0")
    assert started.returncode == 0, started.stderr
    yield run
    run("down")


@pytest.fixture
def url(mw: Command) -> str:
    return str(json.loads(mw("status", "-o", "json").stdout)["url"])


def test_a_foreign_script_logs_and_the_command_line_shows_it(mw: Command, url: str) -> None:
    script = """
import modelwright
with modelwright.start_run(name="foreign", params={"lr": 0.1}) as run:
    for step in range(200):
        run.log_metrics({"loss": 1 / (step + 1)}, step=step)
    run.log_metrics({"odd": float("nan")}, step=1)
"""
    done = mw(script=script, MODELWRIGHT_URL=url)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(mw("run", "list", "-o", "json", "--filter", "params.lr = '0.1'").stdout)
    assert (found["name"], found["state"]) == ("foreign", "succeeded")
    with Client(url) as client:
        series = {one.key: one for one in client.runs.metrics(found["id"])}
        assert series["loss"].steps == list(range(200))
        assert client.runs.get(found["id"]).metrics["loss"].step == 199


def test_a_folder_is_pushed_and_its_samples_read_back(mw: Command, url: str, tmp_path: Path) -> None:
    prepared = subprocess.run(
        [sys.executable, REPOSITORY / "examples/01-digits/prepare.py", tmp_path / "digits"], check=False
    )
    assert prepared.returncode == 0
    pushed = mw("dataset", "push", "digits", str(tmp_path / "digits"), "--split", "train=0.8,test=0.2", "-o", "json")
    assert pushed.returncode == 0, pushed.stderr
    assert json.loads(pushed.stdout)["samples"] == 1797
    with Client(url) as client:
        sample = next(client.datasets.samples("digits:1", split="test", label="3"))
        stored = client.datasets.read("digits:1", sample.id)
    assert stored == (tmp_path / "digits" / sample.id).read_bytes()


def test_what_is_wrong_is_told_in_one_line(mw: Command, tmp_path: Path) -> None:
    file = tmp_path / "lifecycle.yaml"
    file.write_text("name: x\ndata: {dataset: digits}\ntrain: {model: resnet_smal}\n")
    found = mw("apply", "-f", str(file))
    assert found.returncode == 2
    assert "Traceback" not in found.stderr
    assert "resnet_small" in found.stderr
