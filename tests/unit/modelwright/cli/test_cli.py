"""The command line: answers for people and programs, exit codes for CI, one clear message for each failure."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelwright.cli.text import clean, escape_json, seconds, size
from services.common.digest import digest_bytes

COMMANDS = """up down status apply predict ps logs cancel gc sync version
dataset push|dataset list|dataset show|dataset samples|dataset delete
run list|run show|run train|run resume|run delete
model list|model show|model history|model lineage|model pull|model alias set|model alias delete
deploy apply|deploy list|deploy show|deploy rollback|deploy delete
lifecycle list|lifecycle show|lifecycle watch|lifecycle restart
template list|template show|template options|template blocks|template diff|template summary""".replace("\n", "|")


def every_command() -> list[list[str]]:
    first, *rest = COMMANDS.split("|")
    return [[word] for word in first.split()] + [entry.split() for entry in rest]


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_explains_itself(mw: Any, words: list[str]) -> None:
    found = mw(*words, "--help")
    assert found.code == 0
    assert "Usage" in found.out


def test_the_help_tells_the_exit_codes(mw: Any) -> None:
    assert "Exit codes: 0 done; 1 the work failed" in " ".join(mw("--help").out.split())


def test_a_server_that_is_not_there_is_one_message_with_the_cure(mw: Any) -> None:
    found = mw("run", "list")
    assert found.code == 5
    assert found.out == ""
    assert found.err.startswith("error: the server at http://127.0.0.1:9 does not answer")
    assert "modelwright up" in found.err
    assert len(found.err.splitlines()) == 1


def test_an_unknown_thing_leaves_with_its_own_code(mw: Any, gateway: Any) -> None:
    found = mw("run", "show", "run_9", url=gateway.url)
    assert (found.code, found.err) == (3, "error: no such run\n")


def test_a_missing_token_leaves_with_its_own_code(mw: Any, gateway: Any) -> None:
    gateway.token = "secret"
    assert mw("run", "list", url=gateway.url).code == 6
    assert mw("run", "list", "--token", "secret", url=gateway.url).code == 0


def test_an_option_counts_more_than_the_environment(mw: Any, gateway: Any) -> None:
    assert mw("run", "list", "--url", gateway.url).code == 0
    assert mw("--url", gateway.url, "run", "list").code == 0


@pytest.mark.parametrize(("format", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_programs_get_every_field(mw: Any, gateway: Any, format: str, read: Any) -> None:
    gateway.runs["run_1"] = {"id": "run_1", "name": "数字", "state": "running", "params": {"lr": "0.1"}}
    (run,) = read(mw("run", "list", "-o", format, url=gateway.url).out)
    assert run["name"] == "数字"
    assert run["params"] == {"lr": "0.1"}


def test_an_empty_list_is_json_too(mw: Any, gateway: Any) -> None:
    assert json.loads(mw("run", "list", "-o", "json", url=gateway.url).out) == []


def test_what_the_server_sends_cannot_steer_the_terminal(mw: Any, gateway: Any) -> None:
    evil = "\x1b]0;owned\x07\x9b31m\u202e[red]x"
    gateway.runs["run_1"] = {"id": "run_1", "name": evil, "state": "running"}
    for format in ("table", "json", "yaml"):
        found = mw("run", "list", "-o", format, url=gateway.url).out
        assert not set("\x1b\x07\x9b\u202e") & set(found), format
    assert json.loads(mw("run", "list", "-o", "json", url=gateway.url).out)[0]["name"] == evil
    gateway.failures = [(404, evil)]
    assert "\x1b" not in mw("run", "show", "x", url=gateway.url).err


def test_ps_shows_what_is_at_work_and_why_others_wait(mw: Any, gateway: Any) -> None:
    gateway.jobs = [
        {"id": "job_1", "kind": "train", "state": "running", "progress": 0.42, "eta_s": 75, "message": "epoch 3/10"},
        {"id": "job_2", "kind": "train", "state": "queued", "queue_position": 1, "waiting_reason": "no gpu worker"},
        {"id": "job_3", "kind": "train", "state": "failed", "error": "no memory"},
    ]
    found = " ".join(mw("ps", url=gateway.url).out.split())
    assert "42% 1 min 15 s epoch 3/10" in found
    assert "position 1, no gpu worker" in found
    assert "job_3" not in found
    assert "no memory" in mw("ps", "--all", url=gateway.url).out


def test_a_followed_log_ends_with_the_jobs_own_code(mw: Any, gateway: Any) -> None:
    gateway.log = [{"seq": 1, "text": "epoch 1", "stream": "stdout"}, {"seq": 2, "text": "lost", "stream": "stderr"}]
    gateway.jobs = [{"id": "job_1", "kind": "train", "state": "succeeded"}]
    found = mw("logs", "-f", "job_1", url=gateway.url)
    assert (found.code, found.out) == (0, "epoch 1\n! lost\n")
    gateway.jobs[0] |= {"state": "failed", "error": "loss is NaN"}
    found = mw("logs", "-f", "job_1", url=gateway.url)
    assert (found.code, found.err) == (1, "error: train job_1 failed: loss is NaN\n")


def test_a_picture_is_predicted(mw: Any, gateway: Any, tmp_path: Path) -> None:
    picture = tmp_path / "3.png"
    picture.write_bytes(b"\x89PNG")
    found = mw("predict", "digits", picture, url=gateway.url)
    assert gateway.predicted == [b"\x89PNG"]
    assert found.out.splitlines()[0].split() == ["label", "3"]
    assert mw("predict", "digits", "--json", '{"instances": [[1]]}', "-o", "json", url=gateway.url).code == 0
    assert json.loads(gateway.predicted[1]) == {"instances": [[1]]}


@pytest.mark.parametrize(
    "arguments", [[], ["nowhere.png"], ["--json", "{"], ["--json", "[1]"], ["--json", "@nowhere.json"], ["a.txt"]]
)
def test_a_prediction_of_nothing_sensible_is_refused(mw: Any, gateway: Any, arguments: list[str]) -> None:
    found = mw("predict", "digits", *arguments, url=gateway.url)
    assert found.code == 2
    assert "Traceback" not in found.err
    assert not gateway.predicted


def test_a_pulled_model_is_whole_or_not_there(mw: Any, gateway: Any, tmp_path: Path) -> None:
    data = b"weights"
    digest = digest_bytes(data)
    gateway.blobs[digest] = data
    files = [{"path": "inner/model.onnx", "digest": digest, "size": len(data)}]
    gateway.versions = [{"name": "digits", "number": 1, "digest": "sha256:" + "ab" * 32, "files": files}]
    found = mw("model", "pull", "digits@champion", tmp_path / "model", url=gateway.url)
    assert found.code == 0, found.err
    assert (tmp_path / "model" / "inner" / "model.onnx").read_bytes() == data
    gateway.blobs[digest] = b"damaged"
    found = mw("model", "pull", "digits@champion", tmp_path / "other", url=gateway.url)
    assert found.code == 4
    assert "did not arrive as it was sent" in found.err
    assert not (tmp_path / "other").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_numbers_are_written_for_people() -> None:
    assert [seconds(value) for value in (None, 0.42, 75, 7800)] == ["", "0.4 s", "1 min 15 s", "2 h 10 min"]
    assert [size(value) for value in (12, 1500, 2_500_000)] == ["12 B", "1.5 kB", "2.5 MB"]


def test_cleaning_keeps_lines_and_letters() -> None:
    assert clean("a\tb\nç数\x1b[0m\r") == "a\tb\nç数�[0m�"
    assert json.loads(escape_json(json.dumps("\x9b\u202e", ensure_ascii=False))) == "\x9b\u202e"
