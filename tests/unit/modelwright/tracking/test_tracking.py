"""Tracking from scripts that are not ours: nothing waits, nothing is lost, nothing is doubled."""

import math
import signal
from pathlib import Path
from typing import Any

import pytest

from modelwright.tracking import sync

TRAINING = """
with modelwright.start_run(name="baseline", params={"lr": 0.1, "model": {"depth": 3}}, tags={"team": "a"}) as run:
    for step in range(100):
        run.log_metrics({"loss": 1.0 / (step + 1), "accuracy": step / 100}, step=step)
    run.log_params({"epochs": 5})
"""


def test_a_run_arrives_with_all_it_logged(gateway: Any, script: Any) -> None:
    script(gateway.url, TRAINING)
    (run,) = gateway.runs.values()
    assert run["state"] == "succeeded"
    assert run["name"] == "baseline"
    assert run["params"] == {"lr": "0.1", "model.depth": "3", "epochs": "5"}
    assert run["tags"] == {"team": "a"}
    assert run["environment"]["python"]
    assert run["environment"]["packages"]["httpx"]
    assert run["hardware"]["cores"] >= 1
    assert len(gateway.points) == 200
    assert gateway.points[("run_1", "loss", 9)]["value"] == 0.1


def test_points_travel_together(gateway: Any, script: Any) -> None:
    script(gateway.url, TRAINING)
    assert sum(path.endswith("/runs:log") for _, path, _ in gateway.requests) < 10


def test_an_exception_in_the_block_fails_the_run(gateway: Any, start_script: Any) -> None:
    process = start_script(gateway.url, "with modelwright.start_run(name='x'):\n    raise ValueError('no gradient')\n")
    _, err = process.communicate(timeout=60)
    assert "no gradient" in err
    assert gateway.runs["run_1"]["state"] == "failed"
    assert gateway.runs["run_1"]["error"] == "ValueError: no gradient"


def test_numbers_that_json_has_not_arrive_by_name(gateway: Any, script: Any) -> None:
    body = (
        "with modelwright.start_run() as run:\n    run.log_metrics({'a': float('nan'), 'b': -float('inf')}, step=1)\n"
    )
    script(gateway.url, body)
    assert math.isnan(float(gateway.points[("run_1", "a", 1)]["value"]))
    assert gateway.points[("run_1", "b", 1)]["value"] == "-Infinity"


def test_steps_count_by_themselves(gateway: Any, script: Any) -> None:
    script(
        gateway.url, "with modelwright.start_run() as run:\n    for _ in range(3):\n        run.log_metric('a', 1)\n"
    )
    assert sorted(gateway.points) == [("run_1", "a", 0), ("run_1", "a", 1), ("run_1", "a", 2)]


def test_what_was_logged_without_a_server_is_sent_once_by_sync(
    new_gateway: Any, serve: Any, script: Any, home: Path
) -> None:
    gateway = new_gateway()
    with serve(gateway):
        pass
    script(gateway.url, TRAINING)
    assert not gateway.runs
    with serve(gateway):
        (first,) = sync(folder=home / "outbox", timeout_s=20)
        assert first.is_complete
        assert first.sent > 100
        assert len(gateway.points) == 200
        assert [run["state"] for run in gateway.runs.values()] == ["succeeded"]
        count = len(gateway.requests)
        (second,) = sync(folder=home / "outbox", timeout_s=20)
        assert (second.is_complete, second.sent) == (True, 0)
        assert len(gateway.requests) == count


def test_the_next_run_sends_what_the_last_could_not(new_gateway: Any, serve: Any, script: Any) -> None:
    gateway = new_gateway()
    with serve(gateway):
        pass
    script(gateway.url, TRAINING)
    with serve(gateway):
        script(gateway.url, TRAINING.replace("baseline", "second"))
        assert sorted(run["name"] for run in gateway.runs.values()) == ["baseline", "second"]
        assert len(gateway.points) == 400


def test_a_killed_script_loses_nothing_that_it_had_logged(gateway: Any, start_script: Any, home: Path) -> None:
    body = "run = modelwright.start_run(name='x')\nfor step in range(1000):\n    run.log_metric('a', step, step)\n"
    process = start_script(gateway.url, body + "print('logged', flush=True)\ntime.sleep(60)\n")
    assert process.stdout.readline() == "logged\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    (done,) = sync(folder=home / "outbox", timeout_s=20)
    assert done.is_complete
    assert len(gateway.runs) == 1
    assert len(gateway.points) == 1000


def test_a_server_that_restarts_costs_nothing(new_gateway: Any, serve: Any, start_script: Any) -> None:
    gateway = new_gateway()
    body = """
run = modelwright.start_run(name="x")
for step in range(400):
    run.log_metric("a", step, step)
    if step == 200:
        run.flush()
        print("half", flush=True)
        sys.stdin.readline()
run.finish(timeout_s=30)
"""
    with serve(gateway):
        process = start_script(gateway.url, body)
        assert process.stdout.readline() == "half\n"
    with serve(gateway):
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert len(gateway.points) == 400
        assert gateway.runs["run_1"]["state"] == "succeeded"


def test_a_forked_child_logs_to_the_same_run(gateway: Any, script: Any) -> None:
    body = """
run = modelwright.start_run(name="x")
run.log_metric("parent", 1, 0)
child = os.fork()
if child == 0:
    run.log_metric("child", 2, 0)
    run.flush()
    os._exit(0)
os.waitpid(child, 0)
run.log_metric("parent", 3, 1)
run.finish()
"""
    script(gateway.url, body)
    assert sorted(gateway.points) == [("run_1", "child", 0), ("run_1", "parent", 0), ("run_1", "parent", 1)]
    assert len(gateway.runs) == 1


def test_a_record_that_is_refused_does_not_cost_its_neighbours(gateway: Any, script: Any) -> None:
    body = """
with modelwright.start_run() as run:
    for step in range(20):
        run.log_metric("bad" if step == 7 else "good", step, step)
"""
    script(gateway.url, body)
    assert len(gateway.points) == 19
    assert gateway.runs["run_1"]["state"] == "succeeded"


def test_a_wrong_token_keeps_the_records(gateway: Any, script: Any, home: Path) -> None:
    gateway.token = "secret"
    script(gateway.url, TRAINING)
    assert not gateway.runs
    (done,) = sync(token="secret", folder=home / "outbox", timeout_s=20)
    assert done.is_complete
    assert len(gateway.points) == 200


def test_artifacts_are_as_they_were_when_they_were_logged(gateway: Any, script: Any, tmp_path: Path) -> None:
    body = f"""
os.makedirs(r"{tmp_path}/plots/inner")
open(r"{tmp_path}/plots/a.txt", "w").write("first")
open(r"{tmp_path}/plots/inner/b.txt", "w").write("inner")
with modelwright.start_run() as run:
    run.log_artifact(r"{tmp_path}/plots")
    open(r"{tmp_path}/plots/a.txt", "w").write("second")
"""
    script(gateway.url, body)
    found = {artifact["path"]: gateway.blobs[artifact["digest"]] for artifact in gateway.artifacts}
    assert found == {"plots/a.txt": b"first", "plots/inner/b.txt": b"inner"}


def test_a_model_is_registered_as_made_by_the_run(gateway: Any, script: Any, tmp_path: Path) -> None:
    body = f"""
os.makedirs(r"{tmp_path}/package")
open(r"{tmp_path}/package/model.onnx", "w").write("weights")
with modelwright.start_run() as run:
    run.log_model(r"{tmp_path}/package", "digits")
"""
    script(gateway.url, body)
    (version,) = gateway.versions
    assert (version["name"], version["run_id"]) == ("digits", "run_1")
    assert [file["path"] for file in version["files"]] == ["model.onnx"]


@pytest.mark.parametrize("call", ["log_metrics({'a': 'high'})", "log_metrics({'': 1})", "log_artifact('/nowhere')"])
def test_what_cannot_be_logged_is_told_at_once(gateway: Any, start_script: Any, call: str) -> None:
    body = f"""
run = modelwright.start_run()
try:
    run.{call}
except modelwright.InvalidError as error:
    print(error)
"""
    out, err = start_script(gateway.url, body).communicate(timeout=60)
    assert out.strip(), err


def test_importing_the_package_loads_nothing_heavy(script: Any) -> None:
    heavy = "'torch', 'numpy', 'grpc', 'sqlalchemy', 'httpx', 'onnx'"
    assert script("http://127.0.0.1:9", f"print([m for m in ({heavy}) if m in sys.modules])") == "[]\n"
    code = f"modelwright.Client, modelwright.start_run\nprint([m for m in ({heavy}) if m in sys.modules])"
    assert script("http://127.0.0.1:9", code) == "['httpx']\n"
