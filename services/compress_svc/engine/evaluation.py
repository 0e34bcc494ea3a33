"""How right a model is on labelled samples, and how far it strays from its parent on the golden inputs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.compress_svc.engine.graph import Array, Feeds, Session
from services.compress_svc.engine.progress import Watch

LabelledBatch = tuple[Feeds, NDArray[np.int64]]
"""Inputs and the right class of each sample, as its place among the model's outputs."""
Evaluation = Callable[[], Iterable[LabelledBatch]] | Iterable[LabelledBatch]
"""What gives the same batches each time it is gone through."""


def correctness(session: Session, evaluation: Evaluation, watch: Watch) -> NDArray[np.bool_]:
    """Return for each sample, in order, whether the first output's greatest class is the right one.

    Raises:
        InvalidError: the first output is not [samples, classes].
    """
    parts: list[NDArray[np.bool_]] = []
    for feeds, labels in evaluation() if callable(evaluation) else evaluation:
        watch.check()
        scores = session.run(feeds)[session.outputs[0]]
        if scores.ndim != 2 or len(scores) != len(labels):  # noqa: PLR2004 - samples and classes
            raise InvalidError(
                f"output {session.outputs[0]!r} has shape {list(scores.shape)} for {len(labels)} samples; "
                "accuracy needs [samples, classes] as the first output"
            )
        parts.append(np.asarray(scores.argmax(axis=1) == labels, np.bool_))
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Distance of a variant's answers from its parent's on the golden inputs."""

    max_abs: float
    """Greatest difference of any output value, in the output's unit."""
    relative: float
    """Root of the mean squared difference over the root of the mean square of the parent's outputs."""
    agreement: float
    """Share of golden samples whose greatest output is the same."""
    samples: int

    def to_mapping(self) -> dict[str, Any]:
        """Return the form kept in the card."""
        return {
            "max_abs": self.max_abs,
            "relative": self.relative,
            "agreement": self.agreement,
            "samples": self.samples,
        }


def deviation(expected: Mapping[str, Array], got: Mapping[str, Array]) -> Deviation:
    """Compare recorded outputs with new ones, batch first.

    Raises:
        InvalidError: an output is missing, has another shape, or holds NaN or infinity.
    """
    largest, error, power, agreement = 0.0, 0.0, 0.0, 1.0
    for name, wanted in expected.items():
        if name not in got or got[name].shape != wanted.shape:
            shape = list(got[name].shape) if name in got else "nothing"
            raise InvalidError(f"output {name!r} gave {shape} on the golden inputs, wanted {list(wanted.shape)}")
        if not np.all(np.isfinite(got[name])):
            raise InvalidError(f"output {name!r} holds NaN or infinity on the golden inputs")
        want, have = wanted.astype(np.float64), got[name].astype(np.float64)
        difference = have - want
        largest = max(largest, float(np.abs(difference).max(initial=0.0)))
        error, power = error + float((difference**2).sum()), power + float((want**2).sum())
        agreement = min(agreement, _agreement(want, have))
    relative = float(np.sqrt(error / power)) if power else 0.0
    samples = max((len(value) for value in expected.values()), default=0)
    return Deviation(max_abs=largest, relative=relative, agreement=agreement, samples=samples)


def _agreement(want: NDArray[np.float64], have: NDArray[np.float64]) -> float:
    if want.ndim < 2 or not want.size:  # noqa: PLR2004 - no classes to compare
        return 1.0
    return float(np.mean(want.argmax(axis=-1) == have.argmax(axis=-1)))
