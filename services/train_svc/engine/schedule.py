"""Learning rate as a pure function of the step."""

import math

from services.train_svc.engine.spec import ScheduleSpec


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
    warmup = min(round(spec.warmup_epochs * steps_per_epoch), total // 2)
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    return lr * (spec.final_fraction + (1 - spec.final_fraction) * _share(spec, step, warmup, total))


def _share(spec: ScheduleSpec, step: int, warmup: int, total: int) -> float:
    if spec.name == "constant":
        return 1.0
    if spec.name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
    decay = max(1, round(spec.decay_fraction * total))
    return min(1.0, (total - step) / decay)
