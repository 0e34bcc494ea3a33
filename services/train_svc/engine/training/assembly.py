"""A run's model on its device, with loss and optimizer, under measures that keep its memory budget."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from services.train_svc.engine.batch import Batch, Source
from services.train_svc.engine.engines import load_part
from services.train_svc.engine.memory.estimating import Probe
from services.train_svc.engine.memory.fitting import FitBatch, fit_batch
from services.train_svc.engine.memory.measures import NOTHING, Measures
from services.train_svc.engine.memory.planning import plan_memory
from services.train_svc.engine.memory.plans import MemoryPlan
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.learner import Learner, Moment
from services.train_svc.engine.training.material import Material

LOG = logging.getLogger("modelwright.train")
TIMED = 4
"""Steps of a probe whose time is measured, after those that the learner needs to run as it will."""
MOST_PROBES = 10
"""Sets of measures that are tried; each is compiled anew where the run is."""


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """What a run is carried out with."""

    learner: Learner
    """The engine's half."""
    plan: MemoryPlan | None = None
    """What keeps the memory budget; None: there is none."""


def assemble(own: Any, spec: TrainSpec, material: Material) -> Assembly:  # noqa: ANN401 - of either engine
    """Return a run's model in training; a memory budget is planned for by real steps.

    Args:
        own: a user's own model; None: the material's description is built.
        spec: of the run.
        material: data and description.

    Raises:
        InvalidError: the engine or the device is not there, or nothing keeps the budget; the nearest is named.
    """
    workshop = load_part(spec.engine, "workshop")
    make = partial(workshop.make_learner, own if own is not None else material.description, spec, material.scaling)
    budget = spec.memory_budget.size_bytes
    if budget is None:
        return Assembly(learner=make(NOTHING))
    batch = material.data.train.at(0)
    rungs = workshop.rungs(own if own is not None else material.description, spec, len(batch))
    plan = plan_memory(budget, partial(probe, make, material.data.train), rungs, most_probes=MOST_PROBES)
    LOG.info("memory budget %s\n%s", spec.memory_budget.text, plan.table())
    return Assembly(learner=make(plan.measures), plan=plan)


def probe(make: Callable[..., Learner], source: Source, measures: Measures) -> Probe:
    """Return what real steps under measures take: the peak of memory, and the seconds of one.

    Args:
        make: makes a learner under measures; with `trial` on a copy of the model.
        source: gives the batches.
        measures: which.
    """
    learner = make(measures, trial=True)
    with learner.metered() as meter:
        _steps(learner, source, range(learner.first_steps))
    began = time.perf_counter()
    _steps(learner, source, range(learner.first_steps, learner.first_steps + TIMED))
    seconds = (time.perf_counter() - began) / TIMED
    learner.close()
    return Probe(peak_bytes=meter.peak_bytes, seconds=seconds)


def _steps(learner: Learner, source: Source, steps: range) -> None:
    for step in steps:
        learner.learn(source.at(step), Moment(step=step, rate=1e-6, seed=step))
    learner.settle()


def fit_batch_of(own: Any, spec: TrainSpec, material: Material, budget_bytes: int) -> FitBatch:  # noqa: ANN401
    """Return the largest batch whose steps keep a budget, by measuring them.

    Args:
        own: a user's own model; None: the material's description is built.
        spec: of the run; its `batch_size` does not matter.
        material: data and description; samples of the first batch stand for all.
        budget_bytes: the most that the peak may be.

    Raises:
        InvalidError: not even one sample fits.
    """
    workshop = load_part(spec.engine, "workshop")
    make = partial(workshop.make_learner, own if own is not None else material.description, spec, material.scaling)
    first = material.data.train.at(0)
    return fit_batch(lambda size: probe(make, _Repeated(first, size), NOTHING), budget_bytes)


class _Repeated:
    """The samples of one batch, again and again, in batches of any size."""

    digest, steps_per_epoch = "", 1

    def __init__(self, batch: Batch, size: int) -> None:
        self._batch = batch.repeated(size)

    def at(self, _step: int) -> Batch:
        return self._batch
