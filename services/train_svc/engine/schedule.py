"""Learning rate as a pure function of the step."""

import math
from collections.abc import Callable

from services.train_svc.engine.spec import ScheduleSpec

RISE, FIRST, LAST = 0.3, 1 / 25, 1 / 25e4
"""Of one-cycle: share of the run that rises, first and last rate as shares of the top; PyTorch's numbers."""


def learning_rate(spec: ScheduleSpec, lr: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the rate of `step` (0, 1, 2 ...), so that a resumed run needs no state of it.

    Args:
        spec: the schedule.
        lr: the rate at its top.
        step: the step about to be made.
        steps_per_epoch: steps in an epoch.
        epochs: epochs in the run.
    """
    total = steps_per_epoch * epochs
    warmup = min(spec.warmup_steps or round(spec.warmup_epochs * steps_per_epoch), total // 2)
    if spec.name == "one_cycle":
        return lr * _one_cycle(spec, step, total)
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    return lr * (spec.final_fraction + (1 - spec.final_fraction) * SHARES[spec.name](spec, step, warmup, total))


def _one_cycle(spec: ScheduleSpec, step: int, total: int) -> float:
    # Cosine both ways (Smith 2018, arXiv 1708.07120; the form of torch's OneCycleLR). It has its own rise.
    top = float(min(spec.warmup_steps, total // 2)) if spec.warmup_steps else RISE * total - 1
    if step <= top:
        return _between(FIRST, 1.0, step / top if top > 0 else 1.0)
    return _between(1.0, max(LAST, spec.final_fraction), (step - top) / ((total - 1 - top) or 1.0))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


def _constant(_spec: ScheduleSpec, _step: int, _warmup: int, _total: int) -> float:
    return 1.0


def _cosine(_spec: ScheduleSpec, step: int, warmup: int, total: int) -> float:
    return _between(1.0, 0.0, (step - warmup) / max(1, total - warmup))


def _wsd(spec: ScheduleSpec, step: int, _warmup: int, total: int) -> float:
    return min(1.0, (total - step) / max(1, round(spec.decay_fraction * total)))


def _noam(_spec: ScheduleSpec, step: int, warmup: int, _total: int) -> float:
    # min(t / w, sqrt(w / t)) with t = step + 1 (Vaswani et al. 2017, arXiv 1706.03762), its top, at t = w, made 1.
    return math.sqrt((warmup + 1) / (step + 1))


def _linear(_spec: ScheduleSpec, step: int, warmup: int, total: int) -> float:
    return (total - step) / max(1, total - warmup)


SHARES: dict[str, Callable[[ScheduleSpec, int, int, int], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "wsd": _wsd,
    "noam": _noam,
    "linear": _linear,
}
"""What is left of the top after the warm-up, by schedule."""
