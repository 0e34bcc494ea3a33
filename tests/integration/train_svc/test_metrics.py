"""Metrics over gRPC, on both databases: written once, read back faithfully, watched live."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proto.gen.modelwright.common.v1 import job_pb2 as jobs
from proto.gen.modelwright.train.v1 import run_pb2 as pb
from services.common.errors import InvalidError, NotFoundError, StaleLeaseError
from services.common.rpc import call, stream


def new_run(client: Any, **fields: Any) -> str:
    return str(call(client.runs.CreateRun, pb.CreateRunRequest(project="p", **fields)).run.id)


def log(client: Any, *entries: Any, lease: Any = None) -> dict[str, str]:
    return dict(call(client.runs.LogBatch, pb.LogBatchRequest(entries=entries, lease=lease)).refused_runs)


def points(key: str, *pairs: tuple[int, float]) -> list[Any]:
    return [pb.MetricPoint(key=key, step=step, value=value, time=100 + step) for step, value in pairs]


def read(client: Any, run_id: str, **options: Any) -> dict[str, list[tuple[int, float]]]:
    answer = call(client.runs.ReadMetrics, pb.ReadMetricsRequest(run_id=run_id, **options))
    return {series.key: list(zip(series.steps, series.values, strict=True)) for series in answer.series}


def test_a_repeated_point_changes_nothing(client: Any) -> None:
    run = new_run(client)
    log(client, pb.RunEntry(run_id=run, points=points("loss", (0, 1.0), (1, 0.5), (1, 9.0))))
    log(client, pb.RunEntry(run_id=run, points=points("loss", (0, 7.0), (1, 7.0), (2, 0.25))))
    assert read(client, run) == {"loss": [(0, 1.0), (1, 0.5), (2, 0.25)]}
    last = call(client.runs.GetRun, pb.GetRunRequest(id=run)).run.metrics["loss"]
    assert (last.step, last.value, last.time) == (2, 0.25, 102)


def test_the_last_value_is_that_of_the_highest_step_whatever_comes_late(client: Any) -> None:
    run = new_run(client)
    for step in (5, 3, 9, 1):
        log(client, pb.RunEntry(run_id=run, points=points("acc", (step, step / 10))))
    assert call(client.runs.GetRun, pb.GetRunRequest(id=run)).run.metrics["acc"].step == 9
    assert [step for step, _ in read(client, run)["acc"]] == [1, 3, 5, 9]


def test_values_that_are_no_numbers_come_back_as_they_went(client: Any) -> None:
    run = new_run(client)
    sent = [
        (0, math.inf),
        (1, -math.inf),
        (2, 5e-324),
        (3, -1.7976931348623157e308),
        (4, 0.1),
        (-(2**63), 1.0),
        (2**63 - 1, math.nan),
    ]
    log(client, pb.RunEntry(run_id=run, points=points("x", *sent)))
    found = read(client, run)["x"]
    assert found[:-1] == sorted(sent[:-1], key=lambda point: point[0])
    assert found[-1][0] == 2**63 - 1
    assert math.isnan(found[-1][1])
    assert math.isnan(call(client.runs.GetRun, pb.GetRunRequest(id=run)).run.metrics["x"].value)


def test_a_refused_entry_spoils_no_other(client: Any) -> None:
    good, fixed = new_run(client), new_run(client, params={"lr": "0.1"})
    refused = log(
        client,
        pb.RunEntry(run_id="run_none", points=points("a", (1, 1))),
        pb.RunEntry(run_id=fixed, params={"lr": "0.2"}, points=points("a", (1, 1))),
        pb.RunEntry(run_id=good, points=points("a", (1, 1)), params={"b": "2"}, tags={"t": "x"}),
        pb.RunEntry(run_id="run_x", points=points("", (1, 1))),
        pb.RunEntry(run_id="run_y", params={"a": "nul\0"}),
    )
    assert set(refused) == {"run_none", fixed, "run_x", "run_y"}
    assert "'0.1'" in refused[fixed]
    assert read(client, fixed) == {}
    run = call(client.runs.GetRun, pb.GetRunRequest(id=good)).run
    assert (dict(run.params), dict(run.tags), run.metrics["a"].value) == ({"b": "2"}, {"t": "x"}, 1)


def test_a_parameter_is_set_once_and_a_tag_as_often_as_one_likes(client: Any) -> None:
    run = new_run(client, params={"lr": "0.1"}, tags={"stage": "a"})
    assert log(client, pb.RunEntry(run_id=run, params={"lr": "0.1", "new": "v" * 8000}, tags={"stage": "b"})) == {}
    found = call(client.runs.GetRun, pb.GetRunRequest(id=run)).run
    assert dict(found.params) == {"lr": "0.1", "new": "v" * 8000}
    assert dict(found.tags) == {"stage": "b"}


def test_an_old_worker_writes_nothing(client: Any) -> None:
    submitted = pb.SubmitTrainingRequest(
        project="p", spec_json='{"model": "resnet_small"}', dataset_digest="sha256:" + "d" * 64
    )
    run = call(client.runs.SubmitTraining, submitted).run.id
    request = jobs.ClaimJobRequest(worker="old", queues=["cpu"])
    old = call(client.jobs.ClaimJob, request).lease
    assert log(client, pb.RunEntry(run_id=run, points=points("a", (1, 1))), lease=old) == {}
    other = new_run(client)
    assert other in log(client, pb.RunEntry(run_id=other, points=points("a", (1, 1))), lease=old)
    call(client.jobs.ReleaseJob, jobs.ReleaseJobRequest(lease=old, reason="lost"))
    new = call(client.jobs.ClaimJob, request).lease
    with pytest.raises(StaleLeaseError):
        log(client, pb.RunEntry(run_id=run, points=points("a", (2, 2))), lease=old)
    log(client, pb.RunEntry(run_id=run, points=points("a", (3, 3))), lease=new)
    assert read(client, run) == {"a": [(1, 1.0), (3, 3.0)]}


def test_a_worker_tells_what_it_runs_on_by_tags_that_become_the_runs_own_fields(client: Any) -> None:
    submitted = pb.SubmitTrainingRequest(
        project="p", spec_json='{"model": "resnet_small"}', dataset_digest="sha256:" + "d" * 64
    )
    run = call(client.runs.SubmitTraining, submitted).run.id
    lease = call(client.jobs.ClaimJob, jobs.ClaimJobRequest(worker="w", queues=["cpu"])).lease
    tags = {"code_version": "abc", "environment": '{"python": "3.11"}', "hardware": '{"cpus": 2}', "note": "x"}
    log(client, pb.RunEntry(run_id=run, tags=tags), lease=lease)
    found = call(client.runs.GetRun, pb.GetRunRequest(id=run)).run
    assert (found.code_version, found.environment_json) == ("abc", '{"python": "3.11"}')
    assert found.hardware_json == '{"cpus": 2}'
    assert dict(found.tags) == {"note": "x"}


def test_callers_at_once_lose_and_double_nothing(connect: Callable[[], Any]) -> None:
    clients = [connect(), connect()]
    runs = [new_run(clients[0]) for _ in range(4)]

    def send(number: int) -> None:
        entries = [
            pb.RunEntry(run_id=run, points=points(f"m{number % 3}", *((s, s) for s in range(50)))) for run in runs
        ]
        assert log(clients[number % 2], *entries) == {}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(24)))
    for run in runs:
        found = read(clients[0], run)
        assert {key: len(series) for key, series in found.items()} == {"m0": 50, "m1": 50, "m2": 50}


def test_thinning_keeps_ends_and_extremes(client: Any) -> None:
    run = new_run(client)
    values = [math.sin(i / 50) for i in range(3000)]
    values[777], values[1999] = 100.0, -100.0
    log(client, pb.RunEntry(run_id=run, points=points("x", *enumerate(values))))
    thinned = read(client, run, max_points=100)["x"]
    assert len(thinned) <= 100
    assert {(0, values[0]), (777, 100.0), (1999, -100.0), (2999, values[2999])} <= set(thinned)
    assert thinned == sorted(thinned)
    assert len(read(client, run, after_step=2989)["x"]) == 10
    assert read(client, run, keys=["y"]) == {}
    with pytest.raises(InvalidError):
        read(client, run, max_points=-1)
    with pytest.raises(NotFoundError):
        read(client, "run_none")


def collect(client: Any, run: str, into: list[Any], started: threading.Event) -> None:
    for answer in stream(client.runs.WatchRun, pb.WatchRunRequest(run_id=run), timeout_s=30):
        into.append(answer)
        started.set()


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_watcher_sees_every_point_then_the_end(connect: Callable[[], Any], replicas: int) -> None:
    clients = [connect() for _ in range(replicas)]
    run = new_run(clients[0])
    log(clients[0], pb.RunEntry(run_id=run, points=points("loss", (0, 1.0), (5, 5.0))))
    answers: list[Any] = []
    started = threading.Event()
    watcher = threading.Thread(target=collect, args=(clients[-1], run, answers, started))
    watcher.start()
    assert started.wait(20)
    # Ahead, behind, a new key, and behind again.
    for key, step in (("loss", 6), ("loss", 2), ("acc", 0), ("loss", 7), ("loss", 1)):
        log(clients[0], pb.RunEntry(run_id=run, points=points(key, (step, step)), tags={"at": str(step)}))
    call(clients[0].runs.FinishRun, pb.FinishRunRequest(id=run, state=pb.RUN_STATE_SUCCEEDED))
    watcher.join(20)
    assert answers[0].run.metrics["loss"].step == 5
    assert answers[-1].run.state == pb.RUN_STATE_SUCCEEDED
    seen = {(point.key, point.step) for answer in answers for point in answer.points}
    assert {("loss", 6), ("loss", 2), ("acc", 0), ("loss", 7), ("loss", 1)} <= seen


def test_a_watcher_of_an_ended_run_gets_it_and_leaves(client: Any) -> None:
    run = new_run(client)
    call(client.runs.FinishRun, pb.FinishRunRequest(id=run, state=pb.RUN_STATE_SUCCEEDED))
    answers = list(stream(client.runs.WatchRun, pb.WatchRunRequest(run_id=run), timeout_s=20))
    assert [answer.run.id for answer in answers] == [run]
    with pytest.raises(NotFoundError):
        list(stream(client.runs.WatchRun, pb.WatchRunRequest(run_id="run_none"), timeout_s=20))
