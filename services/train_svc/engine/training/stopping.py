"""When a run that no longer improves ends."""

import math
from collections.abc import Mapping
from typing import Any

from services.common.names import nearest
from services.train_svc.engine.metrics.choice import goes_up
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import EarlyStoppingSpec

PREFIX = "validation_"
"""A metric may be named with or without it."""


class EarlyStopping:
    """Ends a run after `patience_epochs` epochs whose metric was not better than the best so far (Prechelt 1998).

    All that it knows is in `state`, so that a run that goes on from a checkpoint ends where it would have.

    Args:
        spec: how long to wait for what.
        primary: the metric that is watched where the spec names none, such as `validation_accuracy`.
    """

    def __init__(self, spec: EarlyStoppingSpec, primary: str) -> None:
        self._spec = spec
        self.metric = spec.metric or primary
        """What is watched."""
        self._sign = 1.0 if goes_up(self.metric) else -1.0
        self._best: float | None = None
        self._epoch = self._best_epoch = 0

    def update(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take in the evaluation behind an epoch, counted from 1, and say whether the run shall end.

        A value that is not finite is no improvement.

        Raises:
            InvalidError: what is watched was not measured; what was is named.
        """
        if not self._spec.patience_epochs:
            return False
        value = value_of(self.metric, metrics)
        self._epoch = epoch
        if self._is_better(value):
            self._best, self._best_epoch = value, epoch
        return self.is_over

    @property
    def is_over(self) -> bool:
        """Whether the run shall end."""
        patience = self._spec.patience_epochs
        return patience > 0 and self._epoch - self._best_epoch >= patience

    @property
    def state(self) -> dict[str, Any]:
        """All of it as plain data; empty before the first evaluation."""
        return {"best": self._best, "best_epoch": self._best_epoch, "epoch": self._epoch} if self._epoch else {}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from what `state` gave; nothing: from the beginning."""
        given = state or {}
        self._best = given.get("best")
        self._best_epoch, self._epoch = given.get("best_epoch", 0), given.get("epoch", 0)

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self._best is None:
            return True
        gain = self._sign * (value - self._best)
        return gain > 0 and gain >= self._spec.least_change


def value_of(metric: str, metrics: Mapping[str, float]) -> float:
    """Return a metric that may be named with or without `validation_`.

    Raises:
        InvalidError: it was not measured; the nearest that was, and all others, are named.
    """
    for name in (metric, f"{PREFIX}{metric}", metric.removeprefix(PREFIX)):
        if name in metrics:
            return metrics[name]
    known = ", ".join(sorted(metrics)) or "nothing"
    message = f"{metric!r} was not measured{nearest(metric, metrics)}; measured: {known}"
    raise fault("train.early_stopping.metric", message)
