"""`modelwright train`: on this machine, with no platform."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image

from services.train_svc.engine.sinks import read_curve

REPOSITORY = Path(__file__).parents[4]
BOUNDS = {"train": (0, 96), "val": (96, 144), "test": (144, 192)}
SEARCH = {"trials": 3, "pruner": "none", "parameters": {"optimizer.lr": {"log": [1e-3, 1e-1]}}}


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real digits, a folder a class, in a folder a split."""
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    scaled = np.round(pictures * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    root = tmp_path_factory.mktemp("digits")
    for split, (start, end) in BOUNDS.items():
        for index in range(start, end):
            folder = root / split / str(labels[index])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scaled[index]).save(folder / f"{index}.png")
    return root


@pytest.fixture
def write(digits: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a training file; what is given joins its section `train`, or replaces another section."""

    def write(name: str = "train", search: Any = None, **train: Any) -> Path:
        settings = {"model": {"template": "mlp", "hidden": [12]}, "epochs": 3, "batch_size": 16, "device": "cpu"}
        found = {"data": {"folder": str(digits)}, "train": {**settings, "lr": 0.02, "threads": 1, **train}}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(found | ({"search": search} if search else {})), "utf-8")
        return path

    return write


def signalling(number: signal.Signals, curve: Path, lines: int) -> threading.Thread:
    """Send a signal to this process once a curve has so many lines."""

    def watch() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if curve.exists() and curve.read_bytes().count(b"\n") >= lines:
                os.kill(os.getpid(), number)
                return
            time.sleep(0.002)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_run_ends_with_an_evaluated_and_packed_model(mw: Any, write: Callable[..., Path], tmp_path: Path) -> None:
    found = mw("train", "run", write(), "--tensorboard", tmp_path / "board")
    folder = tmp_path / "runs" / "train"
    assert found.code == 0, found.err
    result = json.loads((folder / "result.json").read_text("utf-8"))
    assert (result["split"], result["step"], result["not_packed"]) == ("test", 18, "")
    assert 0 <= result["metrics"]["accuracy"] <= 1
    assert result["versions"]["torch"]
    assert result["spec"]["epochs"] == 3
    assert {"model.onnx", "weights.safetensors", "card.json"} <= {path.name for path in (folder / "model").iterdir()}
    assert "test: loss" in found.out
    assert str(folder / "model") in found.out
    assert "epoch 3/3" in found.err
    assert list((tmp_path / "board").glob("events.out.tfevents.*"))


def test_as_json_standard_output_holds_the_result_alone(mw: Any, write: Callable[..., Path]) -> None:
    found = mw("train", "run", write(epochs=1), "-o", "json")
    assert json.loads(found.out)["spec"]["epochs"] == 1
    quiet = mw("train", "run", write("other", epochs=1), "--quiet", "--set", "model.hidden=[8]", "-o", "json")
    assert quiet.err == ""
    assert json.loads(quiet.out)["parameters"] < json.loads(found.out)["parameters"]


def test_the_same_file_goes_on_and_another_one_is_refused(mw: Any, write: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "train"
    nothing = mw("train", "run", write(), "--resume")
    assert (nothing.code, "no checkpoint in" in nothing.err) == (2, True)
    first = json.loads(mw("train", "run", write(), "-q", "-o", "json").out)
    again = json.loads(mw("train", "run", write(), "-q", "-o", "json", "--resume").out)
    assert again["metrics"] == first["metrics"]
    other = mw("train", "run", write(), "--set", "optimizer.weight_decay=0.1")
    assert other.code == 2
    assert "holds a run with another train.optimizer" in other.err
    assert mw("train", "run", write(keep_best=2), "-q").code == 0
    anew = mw("train", "run", write(epochs=1), "--no-resume")
    assert (anew.code, f"the earlier run is in {folder}.1" in anew.err) == (0, True)
    assert json.loads((folder / "result.json").read_text("utf-8"))["step"] == 6
    assert json.loads((tmp_path / "runs" / "train.1" / "result.json").read_text("utf-8"))["step"] == 18


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_and_the_same_command_goes_on(
    mw: Any, write: Callable[..., Path], tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    path = write(epochs=25, ema_decay=0.9)
    thread = signalling(number, tmp_path / "broken" / "curve.jsonl", 60)
    found = mw("train", "run", path, "-q", "--folder", tmp_path / "broken")
    thread.join()
    assert found.code == 130
    assert "Run the same command to go on" in found.err
    assert signal.getsignal(number) is before
    reached = read_curve(tmp_path / "broken" / "curve.jsonl")["train_loss"][-1][0]
    assert reached < 150
    assert mw("train", "run", path, "-q", "--folder", tmp_path / "broken").code == 0
    assert mw("train", "run", path, "-q", "--folder", tmp_path / "whole").code == 0
    assert read_curve(tmp_path / "broken" / "curve.jsonl") == read_curve(tmp_path / "whole" / "curve.jsonl")


def test_faults_of_file_and_command_line_are_named(mw: Any, write: Callable[..., Path], tmp_path: Path) -> None:
    found = mw("train", "run", write(epocs=3, batch_size=1), "-q")
    assert found.code == 2
    assert "train.epocs: unknown key 'epocs'; did you mean 'epochs'?" in found.err
    assert "train.batch_size: got 1" in found.err
    assert "wanted the name of a setting" in mw("train", "run", write(), "--set", "epochs").err
    assert "did you mean 'lr'" in mw("train", "run", write(), "--set", "optimizer.lrr=3").err
    assert "cannot be read" in mw("train", "run", tmp_path / "none.yaml").err
    path = tmp_path / "far.yaml"
    path.write_text("data: nowhere\n", "utf-8")
    assert "nowhere" in mw("train", "run", path).err


def test_a_dataset_version_without_a_platform_says_how_to_start_one(mw: Any, tmp_path: Path) -> None:
    path = tmp_path / "far.yaml"
    path.write_text("data: digits@3\n", "utf-8")
    found = mw("train", "run", path)
    assert (found.code, "does not answer" in found.err) == (5, True)


@pytest.fixture
def platform(serve: Any, new_gateway: Any, digits: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address of a server that has the digits as version 3 of a dataset, and the version's digest."""
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from modelwright.data import Record, RecordWriter
    from services.common.storage import BlobStore, FolderStorage

    blobs = BlobStore(FolderStorage(tmp_path / "storage"))
    (tmp_path / "scratch").mkdir()
    with RecordWriter(blobs, tmp_path / "scratch") as writer:
        for file in sorted(digits.rglob("*.png")):
            split, label = file.parts[-3:-1]
            name = {"val": "validation"}.get(split, split)
            record = Record(id=f"{split}/{file.name}", split=name, labels=(label,), media_type="image/png")
            writer.add(record, file.read_bytes())
        schema = {"labels": [str(digit) for digit in range(10)], "shape": [8, 8, 1]}
        digest = writer.finish(schema=schema, statistics={}).digest

    async def dataset(request: Any) -> JSONResponse:
        assert request.path_params["ref"] == "digits:3"
        return JSONResponse({"version": {"name": "digits", "number": 3, "digest": digest}})

    class Platform(new_gateway):  # type: ignore[misc]  # a class by fixture
        def app(self) -> Any:
            app = super().app()
            app.router.routes.append(Route("/api/v1/projects/{project}/datasets/{ref}", dataset))
            return app

    with serve(Platform(blobs={stat.digest: blobs.read(stat.digest) for stat in blobs.list_digests()})) as found:
        yield found.url, digest


def test_runs_and_trials_learn_from_a_dataset_version_of_the_platform(
    mw: Any, platform: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, digest = platform
    monkeypatch.setenv("MODELWRIGHT_HOME", str(tmp_path / "home"))
    path = tmp_path / "far.yaml"
    train = {"model": {"template": "mlp", "hidden": [8]}, "epochs": 1, "device": "cpu"}
    search = {**SEARCH, "trials": 2, "parallel": 2}
    path.write_text(yaml.safe_dump({"data": "digits@3", "train": train, "search": search}), "utf-8")
    found = mw("train", "run", path, "-q", "-o", "json", "--folder", tmp_path / "run", url=url)
    assert found.code == 0, found.err
    assert json.loads(found.out)["dataset_digest"] == digest
    searched = mw("train", "search", path, "-o", "json", url=url)
    assert [row["state"] for row in json.loads(searched.out)["trials"]] == ["complete"] * 2
    assert yaml.safe_load((tmp_path / "runs" / "far" / "best.yaml").read_text("utf-8"))["data"] == {
        "dataset": "digits@3"
    }


def test_bytes_that_come_damaged_are_refused(tmp_path: Path) -> None:
    from modelwright.cli.training_data import FetchedBlobs
    from services.common.digest import digest_bytes
    from services.common.errors import UnavailableError

    class Blobs:
        def read(self, digest: str) -> list[bytes]:
            return [b"abc", b"def"]

    found = FetchedBlobs(Blobs())
    found.fetch(digest_bytes(b"abcdef"), tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == b"abcdef"
    assert found.read_range("", 2, 3) == b"cde"
    with pytest.raises(UnavailableError, match="came damaged"):
        found.fetch(digest_bytes(b"abcdeg"), tmp_path / "two")


def test_a_search_shows_the_best_and_what_mattered(mw: Any, write: Callable[..., Path], tmp_path: Path) -> None:
    found = mw("train", "search", write(search=SEARCH), "--trials", 4)
    assert found.code == 0, found.err
    head, *rows = found.out.splitlines()
    assert head.split() == ["TRIAL", "VALIDATION_ACCURACY", "OPTIMIZER.LR", "EPOCHS", "TIME"]
    values = [float(row.split()[1]) for row in rows[:4]]
    assert values == sorted(values, reverse=True)
    assert "optimizer.lr \N{FULL BLOCK}" in rows[4]
    assert found.err.count("complete: validation_accuracy") == 4
    assert (tmp_path / "runs" / "train" / "importance.svg").exists()
    best = mw("train", "run", tmp_path / "runs" / "train" / "best.yaml", "-q", "-o", "json")
    assert json.loads(best.out)["validation"]["validation_accuracy"] == pytest.approx(values[0], abs=1e-4)


def test_a_search_that_is_interrupted_goes_on(mw: Any, write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(search=SEARCH, epochs=12)
    curve = tmp_path / "runs" / "train" / "trials" / "0001" / "curve.jsonl"
    thread = signalling(signal.SIGINT, curve, 20)
    stopped = mw("train", "search", path)
    thread.join()
    assert stopped.code == 130
    assert "1 complete, 2 waiting" in stopped.err
    found = mw("train", "search", path, "--resume", "-o", "json")
    assert [row["state"] for row in json.loads(found.out)["trials"]] == ["complete"] * 3
    whole = mw("train", "search", path, "-q", "-o", "json", "--folder", tmp_path / "whole")
    kept = ("number", "state", "value", "params")
    trials = [[{name: row[name] for name in kept} for row in json.loads(each.out)["trials"]] for each in (found, whole)]
    assert trials[0] == trials[1]
    assert mw("train", "search", path, "--no-resume", "--trials", 1, "-q").code == 0
    assert (tmp_path / "runs" / "train.1" / "search.sqlite").exists()


def test_a_search_of_which_no_trial_ends_well_fails_with_the_reason(mw: Any, write: Callable[..., Path]) -> None:
    found = mw("train", "search", write(search=SEARCH, precision="fp8"))
    assert found.code == 1
    assert "3 failed" in found.err
    assert "trial 0 failed: " in found.err
    assert "no such section" in mw("train", "search", write("plain")).err


def test_each_trial_is_a_run_of_tracking(write: Callable[..., Path], gateway: Any, tmp_path: Path) -> None:
    path = write(search={**SEARCH, "trials": 2}, epochs=1)
    environment = {**os.environ, "MODELWRIGHT_URL": gateway.url, "MODELWRIGHT_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "modelwright.cli", "train", "search", str(path), "--track"]
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    runs = {run["name"]: run for run in gateway.runs.values()}
    assert set(runs) == {"train-0000", "train-0001"}
    assert {key for _, key, _ in gateway.points} >= {"train_loss", "validation_accuracy"}


def test_a_curve_is_drawn_in_the_terminal_and_as_a_picture(mw: Any, write: Callable[..., Path], tmp_path: Path) -> None:
    mw("train", "run", write(), "-q")
    folder = tmp_path / "runs" / "train"
    found = mw("train", "curve", folder, "--svg", tmp_path / "curve.svg")
    heads = [line.split()[0] for line in found.out.splitlines() if "->" in line]
    assert heads == ["train_loss", "validation_loss", "validation_accuracy"]
    picture = ElementTree.parse(tmp_path / "curve.svg")
    lines = [each.attrib["points"].split() for each in picture.iter() if each.tag.endswith("polyline")]
    assert [len(line) for line in lines] == [18, 3, 3]
    one = json.loads(mw("train", "curve", folder / "curve.jsonl", "-m", "f1_macro", "-o", "json").out)
    assert [point["step"] for point in one["validation_f1_macro"]] == [6, 12, 18]
    assert "did you mean 'train_loss'" in mw("train", "curve", folder, "-m", "trainloss").err
    assert mw("train", "curve", tmp_path).code == 3


def test_a_chart_has_its_largest_value_on_top_and_its_smallest_below() -> None:
    from modelwright.cli.training_chart import HEIGHT, WIDTH, chart

    head, *rows, steps = chart("loss", [(0, 4.0), (10, 1.0)]).splitlines()
    assert head == "loss  4 -> 1, least 1, most 4"
    drawn = [row.partition("\u2524")[2] for row in rows]
    assert [len(row) for row in drawn] == [WIDTH] * HEIGHT
    assert rows[0].split()[0] == "4"
    assert rows[-1].split()[0] == "1"
    empty = "\u2800"
    assert drawn[0][0] != empty
    assert drawn[-1][-1] != empty
    assert (drawn[0][-1], drawn[-1][0]) == (empty, empty)
    assert steps.split() == ["\u25140", "step", "10"] or steps.endswith("step 10")
    assert "step 5" in chart("flat", [(5, 1.0)])


def test_help_of_all_commands_loads_no_engine() -> None:
    program = """if True:
        import sys
        from modelwright.cli.app import build
        for name in ("run", "search", "fit-batch", "sensitivity", "curve"):
            build()(["train", name, "--help"], standalone_mode=False)
        heavy = {"torch", "tensorflow", "numpy", "optuna", "services.train_svc.engine.reading"}
        sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)
    """
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
