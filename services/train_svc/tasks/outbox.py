"""Metrics on their way to the service: batched, in a thread of their own, kept while the service is away."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.common.errors import BusyError, UnavailableError
from services.train_svc.engine.ports import Point

LOG = logging.getLogger("modelwright.train")

BATCH_POINTS = 5000


@dataclass(frozen=True, kw_only=True)
class Stamped:
    """A point with the time of its measurement."""

    point: Point
    time: float
    """Seconds since 1970."""


Send = Callable[[Sequence[Stamped]], None]
"""Delivers a batch; raises UnavailableError or BusyError if it may be tried again."""


@dataclass(frozen=True, kw_only=True)
class OutboxPolicy:
    """How often, and how long."""

    interval_s: float = 0.2
    """How long a point may wait for others."""
    longest_wait_s: float = 5.0
    """Longest wait between two tries of a batch."""
    close_s: float = 60.0
    """How long `close` tries before it says that points are left over."""


class Outbox:
    """A MetricSink that never blocks. A batch may arrive twice; points are idempotent by (run, key, step)."""

    def __init__(self, send: Send, policy: OutboxPolicy | None = None) -> None:
        self._send = send
        self._policy = policy or OutboxPolicy()
        self._wake = threading.Condition()
        self._points: list[Stamped] = []
        self._closing = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def log(self, points: Sequence[Point]) -> None:
        """Take points; raises what ended the delivery, such as StaleLeaseError, if anything did."""
        if self._failure is not None:
            raise self._failure
        now = time.time()
        with self._wake:
            self._points += [Stamped(point=point, time=now) for point in points]

    def close(self) -> None:
        """Deliver what is left.

        Raises:
            UnavailableError: the service stayed away.
            StaleLeaseError: another worker has the job.
        """
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(self._policy.close_s)
        if self._failure is not None:
            raise self._failure
        if self._thread.is_alive():
            raise UnavailableError(
                f"{len(self._points)} metric points could not be delivered for {self._policy.close_s:.0f} s; "
                "see that train_svc runs, then resume the run"
            )

    def _run(self) -> None:
        try:
            while self._deliver():
                pass
        except Exception as error:  # whatever it is, the training thread must see it
            self._failure = error

    def _deliver(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._closing, timeout=self._policy.interval_s)
            closing, batch = self._closing, self._points[:BATCH_POINTS]
        if batch:
            self._send_until_taken(batch)
        with self._wake:
            del self._points[: len(batch)]
            return bool(self._points) or not closing

    def _send_until_taken(self, batch: Sequence[Stamped]) -> None:
        wait_s = self._policy.interval_s
        while True:
            try:
                return self._send(batch)
            except (UnavailableError, BusyError) as error:
                LOG.warning("metrics wait %.1f s for train_svc: %s", wait_s, error)
            # A closing outbox goes on trying; `close` has the limit.
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, self._policy.longest_wait_s)
