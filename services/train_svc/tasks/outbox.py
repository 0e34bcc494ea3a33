"""A run's metrics on their way to the service, and checkpoints that never overtake them."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from services.common.errors import UnavailableError
from services.common.outbox import Outbox
from services.train_svc.engine.ports import CheckpointSink, Point

BATCH_POINTS = 5000
INTERVAL_S = 0.2
"""How long a point may wait for others."""
FLUSH_S = 60.0
"""How long delivery may take once it is waited for."""

Stamped = dict[str, Any]
"""`key`, `step`, `value`, and `time` in seconds since 1970."""


class MetricOutbox:
    """A MetricSink that never blocks: points wait in `folder` while the service is away.

    A batch may arrive twice; points are idempotent by (run, key, step).
    """

    def __init__(self, folder: Path, send: Callable[[list[Stamped]], None]) -> None:
        self._failure: Exception | None = None
        self._outbox = Outbox(folder, send, BATCH_POINTS, INTERVAL_S, on_refused=self._refused)

    def log(self, points: Sequence[Point]) -> None:
        """Take points; raises what ended the delivery, such as StaleLeaseError, if anything did."""
        if self._failure is not None:
            raise self._failure
        now = time.time()
        for point in points:
            if not self._outbox.put({"key": point.key, "step": point.step, "value": point.value, "time": now}):
                raise UnavailableError("no room is left for the metrics that wait for train_svc; free disk space")

    def flush(self) -> None:
        """Wait until everything taken so far is delivered.

        Raises:
            UnavailableError: the service stayed away.
            StaleLeaseError: another worker has the job.
        """
        delivered = self._outbox.flush(FLUSH_S)
        if self._failure is not None:
            raise self._failure
        if not delivered:
            raise UnavailableError(
                f"metrics could not be delivered for {FLUSH_S:.0f} s; see that train_svc runs, then resume the run"
            )

    def close(self) -> None:
        """Stop without waiting."""
        self._outbox.close(timeout_s=0)

    def _refused(self, batch: Sequence[Any], error: Exception) -> None:
        self._failure = error


class OrderedCheckpoints:
    """A CheckpointSink that delivers a checkpoint's metrics first: a run resumed from it repeats none of them."""

    def __init__(self, metrics: MetricOutbox, sink: CheckpointSink) -> None:
        self._metrics = metrics
        self._sink = sink

    def save(self, folder: Path, step: int) -> None:
        """Deliver the metrics up to `step`, then the checkpoint."""
        self._metrics.flush()
        self._sink.save(folder, step)
