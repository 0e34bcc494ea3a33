"""Queues and batches."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.common.errors import BusyError, ModelwrightError
from services.serve_svc.engine.batching import Scheduler
from services.serve_svc.engine.session import Session
from services.serve_svc.engine.statistics import Statistics

Build = Callable[..., tuple[Scheduler, Statistics]]


def feeds(*indices: int) -> dict[str, Any]:
    return {"x": np.array([[i] for i in indices], np.int64)}


async def gather(scheduler: Scheduler, requests: list[dict[str, Any]], **how: int) -> list[Any]:
    return await asyncio.gather(*(scheduler.run(one, **how) for one in requests), return_exceptions=True)


def test_requests_that_wait_together_run_together_and_get_their_own_rows(lookup: Session, scheduler_of: Build) -> None:
    scheduler, statistics = scheduler_of(lookup, batching={"max_batch_size": 8, "max_queue_delay_us": 50_000})
    answers = asyncio.run(gather(scheduler, [feeds(1, 2), feeds(3), feeds(4, 5, 6), feeds(7, 8)]))
    assert [answer[0][:, 0, 0].tolist() for answer in answers] == [[1, 2], [3], [4, 5, 6], [7, 8]]
    assert statistics.batches == {8: 1}
    assert (statistics.executions, statistics.inferences, statistics.pending) == (1, 8, 0)


def test_a_bad_request_fails_alone(lookup: Session, scheduler_of: Build) -> None:
    scheduler, _ = scheduler_of(lookup, batching={"max_batch_size": 4, "max_queue_delay_us": 50_000})
    good, bad, other = asyncio.run(gather(scheduler, [feeds(1), feeds(99), feeds(2, 3)]))
    assert good[0][0, 0, 0] == 1
    assert isinstance(bad, ModelwrightError)
    assert "the model" in bad.message
    assert other[0][:, 0, 0].tolist() == [2, 3]


def test_a_full_queue_refuses_at_once(lookup: Session, scheduler_of: Build) -> None:
    scheduler, statistics = scheduler_of(lookup, max_queue=3, batching={"max_queue_delay_us": 50_000})
    answers = asyncio.run(gather(scheduler, [feeds(n) for n in range(5)]))
    assert [isinstance(answer, BusyError) for answer in answers] == [False] * 3 + [True] * 2
    assert "max_queue" in answers[-1].message
    assert statistics.pending == 0


def test_a_request_whose_time_is_over_costs_nothing(lookup: Session, scheduler_of: Build) -> None:
    scheduler, statistics = scheduler_of(lookup, batching={"max_queue_delay_us": 20_000})
    (answer,) = asyncio.run(gather(scheduler, [feeds(1)], timeout_us=1))
    assert isinstance(answer, BusyError)
    assert statistics.executions == 0


def test_a_caller_that_leaves_frees_its_place(lookup: Session, scheduler_of: Build) -> None:
    async def run() -> tuple[int, Any]:
        scheduler, statistics = scheduler_of(lookup, batching={"max_queue_delay_us": 20_000})
        leaving = asyncio.create_task(scheduler.run(feeds(1)))
        staying = asyncio.create_task(scheduler.run(feeds(2)))
        await asyncio.sleep(0)
        leaving.cancel()
        answer = await staying
        return statistics.inferences, answer[0][0, 0, 0]

    assert asyncio.run(run()) == (1, 2)


@pytest.mark.parametrize("size", [1, 4])
def test_batches_never_exceed_their_size(lookup: Session, scheduler_of: Build, size: int) -> None:
    scheduler, statistics = scheduler_of(lookup, instances=2, batching={"max_batch_size": size})
    answers = asyncio.run(gather(scheduler, [feeds(n % 10) for n in range(40)]))
    assert [answer[0][0, 0, 0] for answer in answers] == [n % 10 for n in range(40)]
    assert max(statistics.batches) <= size
    assert statistics.inferences == 40
