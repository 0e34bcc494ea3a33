"""Every batch looked at on the host before an engine computes with it: what cannot be right is said in one sentence.

On a GPU a label outside the classes, or a token outside the vocabulary, is an assertion of some kernel that ends the
process, or a silent zero.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.errors import InvalidError, ModelwrightError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.batch import Batch, Data, Source
from services.train_svc.engine.losses.checking import check_targets
from services.train_svc.engine.losses.forms import Shape, output_of
from services.train_svc.engine.spec import LossSpec
from services.train_svc.engine.training.faults import model_failed
from services.train_svc.engine.training.inputs import check_inputs, vocabularies
from services.train_svc.engine.training.material import Material

Shapes = Mapping[str, Shape]
LABELS = ("labels", "other_labels")
PLAIN = ("cross_entropy", "segmentation", "language_model", "masked_lm")
"""Losses whose targets are labels below the number of classes, and nothing else."""
FREE = ("regression", "forecast")
"""Losses whose targets may be any numbers."""
MOST_FORMS = 1024
"""Forms of batches that are remembered; recordings differ in length."""


class Screen:
    """Checks batches against the model and the loss.

    Args:
        loss: says which targets there must be.
        description: of the model; None: it is a user's own.
    """

    def __init__(self, loss: LossSpec, description: Description | None) -> None:
        self._loss, self._description = loss, description
        self._shapes = _open_shapes(description) if description else None
        self._tokens = vocabularies(description) if description else {}
        self._fitting: set[Hashable] = set()
        self.shapes_of: Callable[[Batch], Shapes] | None = None
        """Gives the shapes of a user's own model's outputs, the batch first; None: not known yet."""

    def check(self, batch: Batch, place: str) -> None:
        """Check a batch.

        Args:
            batch: on the host.
            place: which it is, for the message.

        Raises:
            InvalidError: inputs or targets are not what the model and the loss take; the sample is named.
        """
        try:
            self._check(batch)
        except InvalidError as error:
            raise InvalidError(f"{place}{self._culprit(batch)}: {error.message}", field="data") from error

    def _check(self, batch: Batch) -> None:
        # Names, shapes and types of a batch like one before are right; what is left are values, which are all but free.
        form = _form(batch)
        if form not in self._fitting or not self._has_plain_values(batch):
            self._check_all(batch)
            if len(self._fitting) < MOST_FORMS:
                self._fitting.add(form)

    def _has_plain_values(self, batch: Batch) -> bool:
        if any(not _within(batch.inputs[name], below) for name, below in self._tokens.items() if name in batch.inputs):
            return False
        if self._loss.name in FREE:
            return True
        if self._loss.name not in PLAIN or not self._shapes:
            return False
        classes = _classes(self._loss, self._shapes)
        labels = (batch.targets[name] for name in LABELS if name in batch.targets)
        return classes is not None and all(_within(each, classes) for each in labels)

    def _check_all(self, batch: Batch) -> None:
        if self._description:
            check_inputs(self._description, batch.inputs)
        if self._shapes is None and self.shapes_of:
            self._shapes = _known_shapes(self._loss, self._given_shapes(batch))
        if self._shapes:
            check_targets(self._loss, {name: np.asarray(each) for name, each in batch.targets.items()}, self._shapes)

    def _given_shapes(self, batch: Batch) -> Shapes:
        assert self.shapes_of is not None
        try:
            return self.shapes_of(batch)
        except ModelwrightError:
            raise
        except Exception as error:
            raise model_failed(error, batch) from error

    def _culprit(self, batch: Batch) -> str:
        # Of a batch whose samples are all wrong, none is to blame.
        wrong = [number for number in range(len(batch)) if self._is_wrong(batch.cut(slice(number, number + 1)))]
        if not batch.ids or not wrong or len(wrong) == len(batch) > 1:
            return ""
        return f", sample {batch.ids[wrong[0]]!r}"

    def _is_wrong(self, batch: Batch) -> bool:
        try:
            self._check(batch)
        except ModelwrightError:
            return True
        return False


class Screened:
    """A source whose batches are checked as they are asked for.

    Args:
        source: whose batches.
        screen: checks them.
    """

    def __init__(self, source: Source, screen: Screen) -> None:
        self._source, self._screen = source, screen

    @property
    def digest(self) -> str:
        """Name of the samples."""
        return self._source.digest

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self._source.steps_per_epoch

    def at(self, step: int) -> Batch:
        """Return the batch of a step.

        Raises:
            InvalidError: as the source's, or the batch is not what the model takes.
        """
        batch = self._source.at(step)
        epoch, position = divmod(step, self.steps_per_epoch)
        self._screen.check(batch, f"step {step + 1} (epoch {epoch + 1}, batch {position + 1})")
        return batch

    def rest(self) -> None:
        """End what the source does in the background, until it is asked again."""
        getattr(self._source, "rest", lambda: None)()


class ScreenedBatches:
    """Batches to be evaluated on, checked as they are gone through.

    Args:
        batches: gone through again and again.
        screen: checks them.
        name: of the split, for messages.
    """

    def __init__(self, batches: Iterable[Batch], screen: Screen, name: str) -> None:
        self._batches, self._screen, self._name = batches, screen, name

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches once.

        Raises:
            InvalidError: one is not what the model takes.
        """
        for number, batch in enumerate(self._batches, 1):
            self._screen.check(batch, f"batch {number} of the {self._name} data")
            yield batch


def screened(material: Material, screen: Screen) -> Material:
    """Return a run's material whose batches are checked as they are asked for."""

    def opened(split: str) -> Iterable[Batch]:
        return ScreenedBatches(material.evaluated[split](), screen, split)

    train, validation = material.data.train, material.data.validation
    data = Data(
        train=Screened(train, screen),
        validation=None if validation is None else ScreenedBatches(validation, screen, "validation"),
    )
    return replace(material, data=data, evaluated={split: partial(opened, split) for split in material.evaluated})


def _form(batch: Batch) -> Hashable:
    return tuple(
        (name, each.shape, each.dtype) for part in (batch.inputs, batch.targets) for name, each in part.items()
    )


def _within(values: npt.NDArray[Any], below: int) -> bool:
    return bool(values.size) and values.min() >= 0 and values.max() < below


def _classes(loss: LossSpec, shapes: Shapes) -> int | None:
    return shapes[output_of(loss, shapes)][_class_axis(loss)]


def _class_axis(loss: LossSpec) -> int:
    return 1 if loss.name == "segmentation" else -1


def _open_shapes(description: Description) -> Shapes:
    return {name: (None, *shape) for name, shape in description.output_shapes.items()}


def _known_shapes(loss: LossSpec, shapes: Shapes) -> Shapes:
    # Of one batch's outputs the number of classes holds for all batches, and the number of axes.
    kept = _class_axis(loss)
    known: dict[str, Shape] = {}
    for name, shape in shapes.items():
        sizes: list[int | None] = [None] * len(shape)
        if len(shape) > 1:
            sizes[kept] = shape[kept]
        known[name] = sizes
    return known
