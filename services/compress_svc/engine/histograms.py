"""What is seen of an activation: its extremes first, then a histogram of fixed range. Memory does not grow."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError

BINS = 2048
"""Bins on each side of zero (NVIDIA's calibrator uses as many for |x|)."""


@dataclass(kw_only=True)
class Extremes:
    """Least and greatest value of one tensor over all batches."""

    low: float = np.inf
    high: float = -np.inf

    def add(self, name: str, values: NDArray[np.float32]) -> None:
        """Take in a batch of any shape; a NaN or an infinity is an error that names the tensor."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InvalidError(
                f"tensor {name!r} holds NaN or infinity on the calibration samples; mend the model first"
            )
        self.low, self.high = min(self.low, low), max(self.high, high)


@dataclass(kw_only=True)
class Histogram:
    """Counts of one tensor's values over [-amax, amax], zero being the edge between two bins."""

    low: float
    """Least value seen in the first pass."""
    high: float
    """Greatest value seen in the first pass."""
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2 * BINS, np.int64))
    """`2 * BINS` counts; values that are exactly zero are not among them."""
    zeros: int = 0
    """Values that are exactly zero: quantisation keeps them exactly."""

    @property
    def amax(self) -> float:
        """Greatest magnitude of the range."""
        return max(-self.low, self.high)

    @property
    def width(self) -> float:
        """Width of one bin, in the tensor's own unit."""
        return self.amax / BINS

    def add(self, values: NDArray[np.float32]) -> None:
        """Count a batch of any shape; values beyond the range fall into the outermost bins."""
        nonzero = values[values != 0.0]
        self.zeros += values.size - nonzero.size
        if nonzero.size and self.amax > 0.0:
            places = np.floor(nonzero.astype(np.float64) / self.width).astype(np.int64) + BINS
            self.counts += np.bincount(np.clip(places, 0, 2 * BINS - 1), minlength=2 * BINS)

    def edges(self) -> NDArray[np.float64]:
        """Return the `2 * BINS + 1` edges."""
        return np.arange(-BINS, BINS + 1, dtype=np.float64) * np.float64(self.width)

    def magnitudes(self) -> NDArray[np.int64]:
        """Return the `BINS` counts of |x|, zeros in the first bin."""
        folded: NDArray[np.int64] = self.counts[BINS:] + self.counts[:BINS][::-1]
        folded[0] += self.zeros
        return folded
