"""`apply`: checked before anything is sent, uploaded once, followed to one table."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIFECYCLE = """name: digits
project: default
data: {source: ./pictures, dataset: digits, split: {train: 0.8, test: 0.2}}
train: {model: resnet_small, epochs: 2, optimizer: {name: adamw, lr: 1e-3}}
"""
TIMES = {"started_at": "2026-01-31T12:00:00Z", "finished_at": "2026-01-31T12:00:02.500000Z", "duration_s": 2.5}
MODEL = "sha256:" + "34" * 32
DATA = {
    "dataset": "digits:1",
    "samples": 31,
    "bytes": 31000,
    "schema": {"labels": ["a", "b", "c"], "splits": {"train": 25, "test": 6}},
}
FIGURES = {"accuracy": 0.985, "accuracy_drop": 0.002, "size_bytes": 45000, "p50_ms": 0.12, "speedup": 2.0}
VERDICTS = [
    {"name": "fp32", "digest": "sha256:" + "56" * 32, "verdict": {"pays": True, "reason": ""}},
    {"name": "int8", "digest": MODEL, "verdict": {"pays": False, "reason": "no faster here"}},
]
GATE = {
    "chosen": {"variant": "int8", "digest": MODEL, "figures": FIGURES},
    "bounds": ["accuracy_drop <= 0.01"],
    "prefer": "p50_ms",
    "candidates": [
        {"variant": "int8", "figures": FIGURES, "passes": True, "misses": []},
        {"variant": "fp16", "figures": {"accuracy": 0.9}, "passes": False, "misses": ["accuracy_drop is 0.087"]},
    ],
}
SERVED = {
    "deployment": "digits",
    "model": "digits/2",
    "alias": "champion",
    "endpoints": [{"rest_url": "http://127.0.0.1:9000", "grpc_address": "127.0.0.1:9001"}],
}
DONE: list[dict[str, Any]] = [
    {"name": "data", "state": "reused", "reused": True, "digest": "sha256:" + "12" * 32, "result": DATA, **TIMES},
    {"name": "train", "state": "succeeded", "result": {"model": "digits/1", "metrics": {"accuracy": 0.987}}, **TIMES},
    {"name": "compress", "state": "succeeded", "result": {"variants": VERDICTS}, **TIMES},
    {"name": "gate", "state": "succeeded", "digest": MODEL, "result": GATE, **TIMES},
    {"name": "serve", "state": "succeeded", "digest": MODEL, "result": SERVED, **TIMES},
]


def frame(state: str, stages: list[dict[str, Any]], **more: Any) -> str:
    value = {"id": "lif_1", "name": "digits", "state": state, "stages": stages, **more}
    return f"event: change\nid: e-1\ndata: {json.dumps(value)}\n\n"


@pytest.fixture
def file(tmp_path: Path, pictures: Path) -> Path:
    found = tmp_path / "lifecycle.yaml"
    found.write_text(LIFECYCLE)
    return found


@pytest.fixture
def running(gateway: Any) -> Any:
    job = {"id": "job_1", "state": "running", "progress": 0.4, "eta_s": 12, "message": "epoch 1/2"}
    stages = [DONE[0], {"name": "train", "state": "running", "progress": 0.4, "message": "epoch 1/2", "job": job}]
    gateway.frames = [frame("running", stages), frame("succeeded", DONE, **TIMES), "event: end\ndata: {}\n\n"]
    return gateway


def test_it_ends_with_one_table(mw: Any, running: Any, file: Path) -> None:
    found = mw("apply", "-f", file, url=running.url)
    assert found.code == 0, found.err
    text = " ".join(found.out.split())
    assert "data reused 2.5 s digits:1, 31 samples, 31.0 kB, 3 classes" in text
    assert "train done 2.5 s digits/1" in text
    assert f"int8 {MODEL[:19]}: no faster here" in text
    assert "int8 has the best p50_ms of those within accuracy_drop <= 0.01" in text
    assert "int8: accuracy 98.50%, drop 0.20%, 45.0 kB, p50 0.12 ms, 2.00x as fast" in text
    assert "fp16: accuracy 90.00%; refused: accuracy_drop is 0.087" in text
    assert "sha256:343434343434" in text
    assert "http://127.0.0.1:9000" in text
    assert "127.0.0.1:9001" in text
    assert "train: running" in found.err


def test_the_folder_is_uploaded_and_the_rest_is_sent_as_it_was_meant(mw: Any, running: Any, file: Path) -> None:
    mw("apply", "-f", file, url=running.url)
    spec = running.lifecycles["lif_1"]["spec"]
    (upload,) = spec["data"].pop("uploads")
    assert upload["digest"] in running.blobs
    assert spec["data"] == {"dataset": "digits", "split": {"train": 0.8, "test": 0.2}}
    assert spec["train"]["optimizer"]["lr"] == 0.001


def test_programs_get_the_lifecycle(mw: Any, running: Any, file: Path) -> None:
    found = mw("apply", "-f", file, "-o", "json", url=running.url)
    assert json.loads(found.out)["stages"][1]["state"] == "succeeded"


def test_a_failed_stage_fails_the_command(mw: Any, gateway: Any, file: Path) -> None:
    stages = [DONE[0], {"name": "gate", "state": "failed", "error": "accuracy_drop is 0.03, 0.02 too much", **TIMES}]
    gateway.frames = [frame("failed", stages, error="gate: accuracy_drop is 0.03, 0.02 too much")]
    found = mw("apply", "-f", file, url=gateway.url)
    assert found.code == 1
    assert "error: digits failed: gate: accuracy_drop is 0.03, 0.02 too much" in found.err


def test_it_can_be_left_alone(mw: Any, running: Any, file: Path) -> None:
    found = mw("apply", "-f", file, "--no-follow", url=running.url)
    assert (found.code, found.out) == (
        0,
        "lif_1 is running; follow it with `modelwright lifecycle watch lif_1`\n",
    )


def test_a_fault_is_told_before_anything_is_uploaded(mw: Any, running: Any, file: Path) -> None:
    file.write_text(LIFECYCLE.replace("resnet_small", "resnet_smal"))
    found = mw("apply", "-f", file, url=running.url)
    assert found.code == 2
    assert "fault" in found.err
    assert not running.uploads
    assert not running.lifecycles


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: [", "line 1"),
        ("- a", "no mapping"),
        (LIFECYCLE.replace("./pictures", "./nowhere"), "no "),
        ("a: 1\na: 2", "twice"),
    ],
)
def test_a_file_that_cannot_be_meant_is_told_with_its_place(
    mw: Any, gateway: Any, file: Path, text: str, word: str
) -> None:
    file.write_text(text)
    found = mw("apply", "-f", file, url=gateway.url)
    assert found.code == 2
    assert word in found.err
    assert not gateway.uploads


def test_a_file_that_is_not_there_is_told(mw: Any, gateway: Any) -> None:
    found = mw("apply", "-f", "nowhere.yaml", url=gateway.url)
    assert (found.code, found.err) == (
        2,
        "error: nowhere.yaml cannot be read (No such file or directory); check the path\n",
    )


def test_checking_changes_nothing(mw: Any, running: Any, file: Path) -> None:
    assert mw("apply", "-f", file, "--validate-only", url=running.url).code == 0
    assert not running.uploads
    assert not running.lifecycles


def test_a_terminal_shows_the_stages_live(running: Any, file: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "modelwright.cli", "--url", running.url, "apply", "-f", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[4]), "TERM": "xterm", "COLUMNS": "150"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 65_536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert process.wait() == 0
    assert b"epoch 1/2" in shown
    assert b"40%" in shown
    assert b"digits succeeded in 2.5 s" in shown


def test_ctrl_c_leaves_the_lifecycle_running_and_says_how_to_come_back(
    mw: Any, gateway: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelwright.client.lifecycles import Lifecycles

    def interrupted(self: Lifecycles, lifecycle_id: str) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lifecycles, "watch", interrupted)
    found = mw("apply", "-f", file, url=gateway.url)
    assert found.code == 130
    assert "lif_1 goes on; come back with `modelwright lifecycle watch lif_1`" in found.err
