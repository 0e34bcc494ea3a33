"""What is known of a run before its first step, for its display."""

from typing import TYPE_CHECKING

from services.train_svc.engine.summary import summarize
from services.train_svc.engine.training.callbacks import RunFacts
from services.train_svc.engine.training.hardware import peak_flops
from services.train_svc.engine.training.learner import Learner
from services.train_svc.engine.training.material import Material

if TYPE_CHECKING:
    from services.train_svc.engine.training.loop import Loop

BACKWARD = 3
"""A step's work, forward and backward, in forward passes: each product has two gradients."""
PER_MULTIPLY_ADD = 2


def facts_of(learner: Learner, material: Material, loop: "Loop") -> RunFacts:
    """Return what is known of a run before its first step."""
    batch = material.data.train.at(loop.step)
    return RunFacts(
        total_steps=loop.total_steps,
        steps_per_epoch=loop.steps_per_epoch,
        batch_size=len(batch),
        parameters=learner.parameters,
        device=learner.device_name,
        precision=learner.precision,
        flops_per_step=_flops(material, {name: array.shape for name, array in batch.inputs.items()}),
        peak_flops=peak_flops(learner.device_name, learner.precision),
        first_step=loop.step,
        watched=loop.watched,
        peak_bytes=lambda: learner.peak_bytes,
    )


def _flops(material: Material, shapes: dict[str, tuple[int, ...]]) -> float | None:
    if material.description is None:
        return None
    sizes = {
        size: number
        for name, given in material.description.inputs.items()
        for size, number in zip(given.shape, shapes.get(name, (0,))[1:], strict=False)
        if isinstance(size, str)
    }
    count = next(iter(shapes.values()))[0]
    return float(BACKWARD * PER_MULTIPLY_ADD * count * summarize(material.description, sizes).multiply_adds)
