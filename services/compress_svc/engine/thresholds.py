"""From what was seen of an activation to the range that 256 levels are spread over.

Each method returns (low, high) with low <= 0 <= high, so that zero (padding, ReLU) is represented exactly.
"""

import numpy as np
from numpy.typing import NDArray

from services.compress_svc.engine.divergence import kl_threshold_bins
from services.compress_svc.engine.histograms import BINS, Histogram
from services.compress_svc.engine.recipe import Calibration

LEVELS = 256
CANDIDATES = 128
"""Clipping points that `mse` tries on each side of zero."""

Range = tuple[float, float]


def choose_range(histogram: Histogram, method: Calibration, percentile: float = 99.99) -> Range:
    """Return the range by `method`.

    minmax: all that was seen. percentile: `percentile` per cent of the values lie below the upper bound, as many
    above the lower. entropy: |x| is clipped where NVIDIA's KL is least. mse: both bounds apart, where rounding and
    clipping together cost the least squared error.
    """
    if histogram.amax == 0.0 or method == "minmax":
        return min(histogram.low, 0.0), max(histogram.high, 0.0)
    if method == "percentile":
        return _percentile(histogram, percentile)
    if method == "entropy":
        return _entropy(histogram)
    return _mse(histogram)


def _percentile(histogram: Histogram, percentile: float) -> Range:
    counts = histogram.counts.astype(np.float64)
    # Zeros lie on the edge between the middle bins; as a part of either they move a quantile by less than a bin.
    counts[BINS] += histogram.zeros
    share = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    edges, tail = histogram.edges(), 1.0 - percentile / 100.0
    low = edges[np.searchsorted(share, tail, side="right") - 1]
    high = edges[np.searchsorted(share, 1.0 - tail, side="left")]
    return _within(histogram, low, high)


def _entropy(histogram: Histogram) -> Range:
    levels = LEVELS if histogram.low >= 0.0 or histogram.high <= 0.0 else LEVELS // 2
    threshold = kl_threshold_bins(histogram.magnitudes(), levels) * histogram.width
    return _within(histogram, -threshold, threshold)


def _mse(histogram: Histogram) -> Range:
    """Search every pair of bounds; the cost of a pair is three look-ups in prefix sums.

    Inside the bounds a value is off by step**2 / 12 in the mean square (uniform rounding), outside by its squared
    distance to the bound; exact zeros cost nothing.
    """
    steps = np.linspace(BINS / CANDIDATES, BINS, CANDIDATES).astype(np.int64)
    lows, highs = _sides(histogram, steps)
    moments = _moments(histogram)
    edges = histogram.edges()
    below = _clipped(moments, edges[lows], 0, lows)
    above = _clipped(moments, edges[highs], highs, len(edges) - 1)
    inside = moments[0][highs][None, :] - moments[0][lows][:, None]
    step = (edges[highs][None, :] - edges[lows][:, None]) / (LEVELS - 1)
    cost = below[:, None] + above[None, :] + inside * step**2 / 12.0
    row, column = np.unravel_index(int(np.argmin(cost)), cost.shape)
    return _within(histogram, edges[lows[row]], edges[highs[column]])


def _sides(histogram: Histogram, steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return candidate edges (as indices) below and above zero; one candidate, zero itself, for an empty side."""
    zero = np.array([BINS])
    lows = BINS - steps if histogram.low < 0.0 else zero
    highs = BINS + steps if histogram.high > 0.0 else zero
    return lows, highs


def _moments(histogram: Histogram) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    counts = histogram.counts.astype(np.float64)
    centres = histogram.edges()[:-1] + histogram.width / 2.0
    first, second = counts * centres, counts * centres**2
    return _prefix(counts), _prefix(first), _prefix(second)


def _prefix(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values)])


def _clipped(
    moments: tuple[NDArray[np.float64], ...],
    bound: NDArray[np.float64],
    start: NDArray[np.int64] | int,
    stop: NDArray[np.int64] | int,
) -> NDArray[np.float64]:
    """Return the sum of (x - bound)**2 over bins start .. stop, one figure for each bound."""
    count, first, second = (part[stop] - part[start] for part in moments)
    return np.asarray(second - 2.0 * bound * first + bound**2 * count, np.float64)


def _within(histogram: Histogram, low: float, high: float) -> Range:
    """Cut a range to what was seen, zero included; never empty."""
    low = min(max(float(low), histogram.low), 0.0)
    high = max(min(float(high), histogram.high), 0.0)
    return (low, high) if high > low else (min(histogram.low, 0.0), max(histogram.high, 0.0))
