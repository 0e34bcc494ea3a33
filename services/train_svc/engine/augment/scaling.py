"""From bytes to what a model takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Scaling(Protocol):
    """How uint8 pictures become numbers: (x / 255 - mean) / std, a channel at a time."""

    @property
    def mean(self) -> Sequence[float]:
        """Mean of each channel, or one for all, in 0 to 1."""

    @property
    def std(self) -> Sequence[float]:
        """Standard deviation of each channel, or one for all, in 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The plain scaling: bytes as shares of 255."""

    mean: tuple[float, ...] = (0.0,)
    """Nothing is subtracted."""
    std: tuple[float, ...] = (1.0,)
    """Nothing is divided by."""


SHARES = Shares()


def factors(scaling: Scaling) -> tuple[Floats, Floats]:
    """Return factor and offset, float32 [channels, 1, 1] each: scaled = x * factor + offset.

    They are those of `preprocess.yaml`'s step `normalize`, so that training and serving see the same numbers.
    """
    mean, std = (np.asarray(values, np.float64).reshape(-1, 1, 1) for values in (scaling.mean, scaling.std))
    return (1 / 255 / std).astype(np.float32), (-mean / std).astype(np.float32)
