"""The precision policy that a training needs, measured on its own model and data."""

from functools import partial
from typing import Any

from services.train_svc.engine.engines import load_part
from services.train_svc.engine.precision import Base, Policy
from services.train_svc.engine.training.run import Run


def measure_policy(run: Run, base: Base, batches: int) -> Policy:
    """Return which operators of a run's model must stay in float32, on its first batches.

    Args:
        run: on torch, in fp32, not compiled, without memory budget.
        base: what most operators shall run in.
        batches: how many of the first.

    Raises:
        InvalidError: loss or gradients are not finite even in float32.
    """
    learner: Any = run.learner
    source = run.material.data.train
    steps = [partial(learner.mean_loss, source.at(step)) for step in range(batches)]
    measure = load_part("torch", "precision").measure_sensitivity
    policy: Policy = measure(learner.model, steps, base=base)
    return policy
