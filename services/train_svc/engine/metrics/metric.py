"""What a metric of evaluation is: it sees batch after batch, and then says how good the model is."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.losses import output_of
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import LossSpec

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


class Metric(Protocol):
    """One measure of a model, or some that are counted together. Made anew for each evaluation."""

    def update(self, outputs: Arrays, targets: Arrays) -> None:
        """Count a batch: the model's outputs and the batch's targets, by name, both [batch, ...].

        Raises:
            InvalidError: the shapes do not belong together, or a label is no class; it says which.
        """

    def result(self) -> dict[str, float]:
        """Return the values so far by name; without those for which nothing was counted."""


class Vocabulary(Protocol):
    """Turns tokens into text."""

    def decode(self, tokens: list[int]) -> str:
        """Return the text that the tokens stand for."""


def scores_of(loss: LossSpec, outputs: Arrays) -> Array:
    """Return the output that a loss reads.

    Raises:
        InvalidError: the model gives none of that name.
    """
    return outputs[output_of(loss, outputs)]


def target(targets: Arrays, name: str = "labels") -> Array:
    """Return one of a batch's targets.

    Raises:
        InvalidError: the batch has none of that name.
    """
    if name not in targets:
        raise fault(f"targets.{name}", f"the batch has no {name!r}, only {', '.join(targets) or 'none'}")
    return targets[name]


def counted(scores: Array, labels: Array, ignored: int) -> tuple[Array, Array]:
    """Return the scores float32 [places, classes] and labels int64 [places] of the places that count.

    Args:
        scores: [..., classes].
        labels: [...]; places labelled `ignored` are left out.
        ignored: that label.

    Raises:
        InvalidError: the shapes differ, or a label lies outside the classes.
    """
    check_rows(scores, labels)
    kept = labels != ignored
    chosen = labels[kept].astype(np.int64)
    check_labels(chosen, scores.shape[-1])
    return scores[kept].astype(np.float32, copy=False), chosen


def check_rows(scores: Array, labels: Array) -> None:
    """Check that there is a label [...] for each row of the scores [..., classes].

    Raises:
        InvalidError: the shapes differ.
    """
    if scores.shape[:-1] != labels.shape:
        shapes = f"labels are {list(labels.shape)} and scores {list(scores.shape)}"
        raise fault("targets.labels", f"{shapes}; wanted a label for each row of scores")


def check_labels(labels: Array, classes: int) -> None:
    """Check that all labels are classes.

    Raises:
        InvalidError: one is not; it is named.
    """
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        message = f"label {int(wrong[0])} is none of the {classes} classes; wanted 0 to {classes - 1}"
        raise fault("targets.labels", f"{message}, or more classes in the model")
