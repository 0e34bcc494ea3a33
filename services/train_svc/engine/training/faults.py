"""A run whose numbers are none any more: what is said of it."""

import math
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.common.errors import InvalidError
from services.train_svc.engine.batch import Batch, Source
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.learner import Learner, Measured, Moment

ENGINE = Path(__file__).parents[1]
NAMED_SAMPLES = 8
NOISE = re.compile(r"\x1b\[[0-9;]*m|\[\[.*\]\]", re.DOTALL)
"""Colours and values of tensors in another library's message."""
MOST_LETTERS = 400
"""Of another library's message; all of it is in the error that ours was raised from."""
MOST_OVERFLOWS = 30
"""Steps one after another that fp16 may leave out; a scale of 65536 is 2^-14 by then, and scaling is not the cure."""
FIRST = 20
"""Steps whose mean loss later ones are compared with."""
RISE, STEPS = 20.0, 20
"""A loss that many times the first for so many steps is taken for a learning rate that is too high."""


class Watch:
    """Looks at every step's measure, and ends a run that cannot become better.

    Args:
        learner: makes a bad step again to find its first bad module.
        source: gives its batch again.
        spec: for the messages.
    """

    def __init__(self, learner: Learner, source: Source, spec: TrainSpec) -> None:
        self._learner, self._source, self._spec = learner, source, spec
        self._overflows = self._high = 0
        self._first: list[float] = []

    def look(self, measured: Measured, moment: Moment) -> None:
        """Take in a step's measure.

        Args:
            measured: what the step measured.
            moment: when it was made.

        Raises:
            InvalidError: loss or gradient is not finite, or the loss rises and rises; step and samples are named.
        """
        if not measured.applied and measured.is_scaled:
            self._overflows += 1
            if self._overflows >= MOST_OVERFLOWS:
                raise self._overflow(measured, moment)
        elif not measured.applied:
            raise self._not_finite(measured, moment)
        else:
            self._overflows = 0
            self._rise(measured)

    def _rise(self, measured: Measured) -> None:
        if len(self._first) < FIRST:
            self._first.append(measured.loss)
            return
        first = sum(self._first) / FIRST
        self._high = self._high + 1 if measured.loss > RISE * max(first, 1e-6) else 0
        if self._high >= STEPS:
            lr = self._spec.optimizer.lr
            raise InvalidError(
                f"the loss rose from {first:.4g} to {measured.loss:.4g} and has stayed there for {STEPS} steps (step "
                f"{measured.step}): training diverges. Lower train.optimizer.lr from {lr:g} to about {lr / 10:g}, "
                "or set train.clip. The last checkpoint is kept",
                field="train.optimizer.lr",
            )

    def _not_finite(self, measured: Measured, moment: Moment) -> InvalidError:
        batch = self._source.at(moment.step)
        what = f"the loss is {measured.loss}" if not math.isfinite(measured.loss) else "the gradient is not finite"
        module = _bad_input(batch) or self._learner.first_fault(batch, moment)
        first = f" First not finite: {module}." if module else ""
        return InvalidError(
            f"{what} at {self._place(measured.step)}{_samples(batch.ids)}.{first} Lower train.optimizer.lr or look at "
            "these samples. The last checkpoint before it is kept",
            field="train.optimizer.lr",
        )

    def _overflow(self, measured: Measured, moment: Moment) -> InvalidError:
        module = self._learner.first_fault(self._source.at(moment.step), moment)
        first = f"; first not finite: {module}" if module else ""
        return InvalidError(
            f"fp16 overflowed in {MOST_OVERFLOWS} steps one after another, up to {self._place(measured.step)}, and the "
            f"loss scale is {measured.loss_scale:g} by now{first}. Train in bf16, or measure what needs fp32: "
            "modelwright train sensitivity",
            field="train.precision",
        )

    def _place(self, step: int) -> str:
        epoch, position = divmod(step - 1, self._source.steps_per_epoch)
        return f"step {step} (epoch {epoch + 1}, batch {position + 1})"


def _bad_input(batch: Batch) -> str:
    for name, array in {**batch.inputs, **batch.targets}.items():
        values = np.asarray(array)
        if values.dtype.kind == "f" and not (good := np.isfinite(values).reshape(len(values), -1).all(axis=1)).all():
            place = int(np.argmin(good))
            return f"{name!r} of sample {batch.ids[place] if batch.ids else place} in the data itself"
    return ""


def model_failed(error: Exception, batch: Batch, place: str = "") -> InvalidError:
    """Return what to say of a user's own model that raised an error.

    Args:
        error: what it raised.
        batch: that it was given.
        place: which it was, such as `step 3`; empty: said by whoever catches it.
    """
    given = {**batch.inputs, **batch.targets}
    arrays = ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in given.items())
    words = " ".join(NOISE.sub("", str(error)).split())[:MOST_LETTERS]
    failed = f"{place}: the model failed" if place else "the model failed"
    return InvalidError(
        f"{failed}{_where(error)}: {type(error).__name__}: {words}; the batch held {arrays}", field="model"
    )


def _where(error: Exception) -> str:
    # The last place that is the user's: neither ours nor a library's.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_foreign(frame.filename)]
    return f" in {frames[-1].name}, line {frames[-1].lineno} of {frames[-1].filename}" if frames else ""


def _is_foreign(filename: str) -> bool:
    return "site-packages" in filename or "__autograph" in filename or filename.startswith(str(ENGINE))


def _samples(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED_SAMPLES} more" if len(names) > NAMED_SAMPLES else ""
    return f" on the samples {', '.join(names[:NAMED_SAMPLES])}{more}" if names else ""
