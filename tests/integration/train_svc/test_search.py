"""Searches of runs, on both databases."""

from typing import Any

import pytest

from proto.gen.modelwright.train.v1 import run_pb2 as pb
from services.common.errors import InvalidError
from services.common.rpc import call

LONG = "x" * 400


@pytest.fixture
def found(client: Any) -> Any:
    """Twelve runs, and a search that names them."""
    for i in range(12):
        fields: dict[str, Any] = {"project": "p", "name": f"run {i}", "tags": {"team": "vision" if i % 2 else "speech"}}
        run = call(
            client.runs.CreateRun, pb.CreateRunRequest(params={"lr": f"0.{i % 3}", "note": LONG + str(i)}, **fields)
        ).run
        entries = [pb.RunEntry(run_id=run.id, points=[pb.MetricPoint(key="val/loss", step=1, value=i)])]
        if i < 8:
            value = float("nan") if i == 7 else (i // 2) / 4
            entries.append(pb.RunEntry(run_id=run.id, points=[pb.MetricPoint(key="acc", step=1, value=value)]))
        call(client.runs.LogBatch, pb.LogBatchRequest(entries=entries))
        if i in (3, 4):
            call(client.runs.FinishRun, pb.FinishRunRequest(id=run.id, state=pb.RUN_STATE_SUCCEEDED))
    call(client.runs.CreateRun, pb.CreateRunRequest(project="q", name="run 99", params={"lr": "0.0"}))

    def search(text: str = "", order_by: str = "", page_size: int = 100) -> list[int]:
        numbers, token = [], ""
        while True:
            request = pb.ListRunsRequest(
                project="p", filter=text, order_by=order_by, page_size=page_size, page_token=token
            )
            answer = call(client.runs.ListRuns, request)
            assert len(answer.runs) <= page_size
            numbers += [int(run.name.split()[1]) for run in answer.runs]
            if not (token := answer.next_page_token):
                return numbers

    return search


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", range(12)),
        ("metrics.acc > 0.5", [6]),
        ("metrics.acc >= 0.5 and params.lr = '0.1'", [4]),
        ("metrics.acc >= 0.5 and metrics.acc != 0.5", [6]),
        ("params.lr = 0.1", [1, 4, 7, 10]),
        ("params.lr in ('0.1', '0.2') and tags.team = \"vision\"", [1, 5, 7, 11]),
        ("not (params.lr = '0.1' or params.lr = '0.2')", [0, 3, 6, 9]),
        ("tags.team like 'SPE%' and metrics.`val/loss` < 5", [0, 2, 4]),
        ("metrics.val/loss = 3", [3]),
        ("state = 'succeeded'", [3, 4]),
        ("state = 'running' and name like '%1%'", [1, 10, 11]),
        ("name not in ('run 1', 'run 2') and metrics.acc = 0", [0]),
        ("created_at > '2020-01-01' and seed = 0 and metrics.acc < 0.25", [0, 1]),
        ("created_at < 5", []),
        ("seed < 1e300 and metrics.acc > 0.5", [6]),
        (f"params.note = '{LONG}5'", [5]),
        (f"params.note != '{LONG}5' and metrics.acc = 0.5", [4]),
        ("params.unknown = '1'", []),
        ("not params.unknown = '1'", range(12)),
        ("metrics.acc > -1e999", range(7)),
    ],
)
def test_a_filter_finds_the_runs_it_describes(found: Any, text: str, wanted: Any) -> None:
    for size in (2, 100):
        assert sorted(found(text, page_size=size)) == list(wanted)


@pytest.mark.parametrize("size", [1, 3, 5, 7, 12, 100])
def test_pages_in_any_order_hold_every_run_once(found: Any, size: int) -> None:
    without = [11, 10, 9, 8, 7]  # NaN is no place in an order.
    assert found(page_size=size) == list(range(11, -1, -1))
    assert found(order_by="created_at asc", page_size=size) == list(range(12))
    assert found(order_by="metrics.acc desc", page_size=size) == [6, 5, 4, 3, 2, 1, 0, *without]
    assert found(order_by="metrics.acc", page_size=size) == [*range(7), *without]
    assert found("state = 'running'", "metrics.acc desc", size) == [6, 5, 2, 1, 0, *without]
    assert found("metrics.acc > 0.3", "params.lr desc", size) == [5, 4, 6]


def test_a_token_of_another_query_is_refused(client: Any, found: Any) -> None:
    token = call(client.runs.ListRuns, pb.ListRunsRequest(project="p", page_size=2)).next_page_token
    for changed in ({"filter": "seed = 0"}, {"order_by": "metrics.acc"}, {"project": "q"}):
        with pytest.raises(InvalidError, match="page_token"):
            call(client.runs.ListRuns, pb.ListRunsRequest(**{"project": "p", "page_token": token, **changed}))


def test_a_filter_that_cannot_be_read_is_an_error_of_the_caller(client: Any) -> None:
    with pytest.raises(InvalidError, match="position 15: expected a number"):
        call(client.runs.ListRuns, pb.ListRunsRequest(project="p", filter="metrics.acc > 'high'"))
