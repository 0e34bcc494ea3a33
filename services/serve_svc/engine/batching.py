"""Who runs when: at once on the loop, or queued, batched and run by instances in threads."""

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from services.common.errors import BusyError, InvalidError, ModelwrightError
from services.serve_svc.engine.elements import Array
from services.serve_svc.engine.options import ServingOptions
from services.serve_svc.engine.session import Session
from services.serve_svc.engine.statistics import Statistics

Feeds = dict[str, Array]


@dataclass(eq=False, slots=True, kw_only=True)
class Work:
    """One request that waits for an instance."""

    feeds: Feeds
    rows: int
    key: tuple[tuple[str, tuple[int, ...]], ...]
    """What may share a batch has the same: every input's shape behind the batch dimension."""
    answer: asyncio.Future[list[Array]]
    queued_ns: int
    deadline_ns: int
    """0: none."""


@dataclass(slots=True, kw_only=True)
class Ran:
    """What came of a batch and what it cost; counted on the loop, where nothing else counts meanwhile."""

    results: list[list[Array] | Exception]
    runs: list[tuple[int, int]] = field(default_factory=list)
    """Rows and nanoseconds of each run of the session."""
    queue_ns: int = 0
    input_ns: int = 0
    output_ns: int = 0


class Scheduler:
    """Runs the requests of one session from one event loop.

    Args:
        session: what to run.
        options: instances, queue and batches.
        statistics: where to count.
        element_ns: measured nanoseconds of a run for each element of its inputs. Requests that will take less than
            `options.inline_below_us` run on the loop itself.
        batches: the model takes batches of any size.
    """

    def __init__(
        self, session: Session, options: ServingOptions, statistics: Statistics, *, element_ns: float, batches: bool
    ) -> None:
        self.session = session
        self.options = options
        self._statistics = statistics
        self._most = options.batching.max_batch_size if batches else 1
        self._delay_ns = options.batching.max_queue_delay_us * 1000 if batches else 0
        self._waiting: deque[Work] = deque()
        self._idle = options.instances
        self._timer: asyncio.TimerHandle | None = None
        self._pool = ThreadPoolExecutor(options.instances, thread_name_prefix="instance")
        inline_ns = 0 if self._delay_ns else options.inline_below_us * 1000
        self.inline_elements = inline_ns / max(element_ns, 1e-3)
        """Requests with fewer elements run on the loop."""

    async def run(self, feeds: Feeds, *, timeout_us: int = 0) -> list[Array]:
        """Return all outputs for one request.

        Raises:
            BusyError: the queue is full, or the request's time ran out while it waited.
        """
        if sum([array.size for array in feeds.values()]) < self.inline_elements:
            return self._run_inline(feeds)
        if len(self._waiting) >= self.options.max_queue:
            raise BusyError(
                f"{len(self._waiting)} requests wait already, which is the most (`max_queue`); try again later, or "
                "give the deployment more instances"
            )
        work = self._work(feeds, timeout_us)
        self._waiting.append(work)
        self._statistics.pending += 1
        self._pump()
        return await work.answer

    def close(self) -> None:
        """Give the threads back; call it once nothing waits."""
        self._pool.shutdown(wait=False)

    def _run_inline(self, feeds: Feeds) -> list[Array]:
        began = time.perf_counter_ns()
        found = self.session.run(feeds)
        self._statistics.add_run(_rows(feeds), time.perf_counter_ns() - began)
        return found

    def _work(self, feeds: Feeds, timeout_us: int) -> Work:
        now = time.perf_counter_ns()
        return Work(
            feeds=feeds,
            rows=_rows(feeds),
            key=tuple((name, array.shape[1:]) for name, array in sorted(feeds.items())),
            answer=asyncio.get_running_loop().create_future(),
            queued_ns=now,
            deadline_ns=now + timeout_us * 1000 if timeout_us else 0,
        )

    def _pump(self) -> None:
        """Hand batches to idle instances until one or the other runs out."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._idle and self._waiting:
            self._drop_dead()
            if not self._waiting or self._waits_for_company():
                return
            batch = self._take()
            self._idle -= 1
            future = asyncio.get_running_loop().run_in_executor(self._pool, self._run_batch, batch)
            future.add_done_callback(partial(self._settle, batch=batch))

    def _drop_dead(self) -> None:
        """Let go of requests whose caller left or whose time ran out, before they cost anything."""
        now = time.perf_counter_ns()
        alive: deque[Work] = deque()
        for work in self._waiting:
            if work.answer.done():
                self._statistics.pending -= 1
            elif work.deadline_ns and now > work.deadline_ns:
                self._statistics.pending -= 1
                work.answer.set_exception(BusyError("the request's `timeout` passed while it waited for its turn"))
            else:
                alive.append(work)
        self._waiting = alive

    def _waits_for_company(self) -> bool:
        """Whether the oldest request shall still wait for others; if so, wake up when its time is over."""
        if not self._delay_ns or sum(work.rows for work in self._waiting) >= self._most:
            return False
        left_ns = self._waiting[0].queued_ns + self._delay_ns - time.perf_counter_ns()
        if left_ns <= 0:
            return False
        self._timer = asyncio.get_running_loop().call_later(left_ns / 1e9, self._pump)
        return True

    def _take(self) -> list[Work]:
        """Remove the oldest request and those that fit into its batch."""
        first = self._waiting.popleft()
        batch, rows = [first], first.rows
        if rows < self._most:
            rest: deque[Work] = deque()
            for work in self._waiting:
                if work.key == first.key and rows + work.rows <= self._most:
                    batch.append(work)
                    rows += work.rows
                else:
                    rest.append(work)
            self._waiting = rest
        self._statistics.pending -= len(batch)
        return batch

    def _run_batch(self, batch: list[Work]) -> Ran:
        """Run in a thread; a batch that fails is run one by one, so that a bad request fails alone."""
        began = time.perf_counter_ns()
        queue_ns = sum(began - work.queued_ns for work in batch)
        if len(batch) == 1:
            return self._run_each(batch, queue_ns)
        joined = {name: np.concatenate([work.feeds[name] for work in batch]) for name in batch[0].feeds}
        ready = time.perf_counter_ns()
        rows = [work.rows for work in batch]
        try:
            outputs = self.session.run(joined)
            done = time.perf_counter_ns()
            parts = _split(outputs, rows)
        except ModelwrightError:
            return self._run_each(batch, queue_ns)
        return Ran(
            results=[*parts],
            runs=[(sum(rows), done - ready)],
            queue_ns=queue_ns,
            input_ns=ready - began,
            output_ns=time.perf_counter_ns() - done,
        )

    def _run_each(self, batch: list[Work], queue_ns: int) -> Ran:
        ran = Ran(results=[], queue_ns=queue_ns)
        for work in batch:
            began = time.perf_counter_ns()
            try:
                ran.results.append(self.session.run(work.feeds))
                ran.runs.append((work.rows, time.perf_counter_ns() - began))
            except ModelwrightError as error:
                ran.results.append(error)
        return ran

    def _settle(self, done: asyncio.Future[Ran], batch: list[Work]) -> None:
        self._idle += 1
        fault = asyncio.CancelledError() if done.cancelled() else done.exception()
        if fault:
            ran = Ran(results=[ModelwrightError(f"the run broke off: {fault!r}")] * len(batch))
        else:
            ran = done.result()
        self._count(ran)
        for work, result in zip(batch, ran.results, strict=True):
            if work.answer.done():
                continue
            if isinstance(result, Exception):
                work.answer.set_exception(result)
            else:
                work.answer.set_result(result)
        self._pump()

    def _count(self, ran: Ran) -> None:
        statistics = self._statistics
        for rows, infer_ns in ran.runs:
            statistics.add_run(rows, infer_ns)
        statistics.queue_ns += ran.queue_ns
        statistics.input_ns += ran.input_ns
        statistics.output_ns += ran.output_ns


def _rows(feeds: Feeds) -> int:
    for array in feeds.values():
        return array.shape[0] if array.ndim else 1
    return 1


def _split(outputs: list[Array], rows: list[int]) -> list[list[Array]]:
    """Return each request's part of every output."""
    total = sum(rows)
    if any(not output.ndim or output.shape[0] != total for output in outputs):
        raise InvalidError("an output has not one row a row of input; set batching.max_batch_size to 1")
    parts: list[list[Array]] = []
    at = 0
    for count in rows:
        parts.append([output[at : at + count] for output in outputs])
        at += count
    return parts
