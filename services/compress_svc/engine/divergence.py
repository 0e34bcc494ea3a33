"""The KL threshold of NVIDIA's INT8 calibrator, for all candidates at once by prefix sums.

Source: S. Migacz, "8-bit inference with TensorRT", GTC 2017; details (first bin replaced by the second, outliers left
out of Q, the last of equal minima) as in NVIDIA's pytorch-quantization, `calib/histogram.py`.
"""

import numpy as np
from numpy.typing import NDArray

FIRST_CANDIDATE = 128


def kl_threshold_bins(magnitudes: NDArray[np.int64], levels: int) -> int:
    """Return how many leading bins of the histogram of |x| to keep.

    For i = 128 .. len(bins): P is the first i bins with all later counts added to its last; Q is the first i bins
    merged into `levels` levels, each spread evenly over its non-empty bins. The answer is the last i of least
    KL(P || Q). `levels` is 2**7 for signed 8-bit ranges, 2**8 for unsigned ones.
    """
    bins = magnitudes.astype(np.float64)
    bins[0] = bins[1]
    total = bins.sum()
    if total == 0.0 or len(bins) <= FIRST_CANDIDATE:
        return len(bins)
    divergences = kl_divergences(bins, levels)
    return FIRST_CANDIDATE + len(divergences) - 1 - int(np.argmin(divergences[::-1]))


def kl_divergences(bins: NDArray[np.float64], levels: int) -> NDArray[np.float64]:
    """Return KL(P || Q) of each candidate i = 128 .. len(bins); infinite where Q misses mass of P."""
    kept = np.arange(FIRST_CANDIDATE, len(bins) + 1)
    # KL = sum p log p - sum over levels of (mass of P in the level) * log(height of Q there).
    own = _prefix(np.where(bins > 0, bins * np.log(np.maximum(bins, 1e-300)), 0.0))
    counts, filled = _prefix(bins), _prefix((bins > 0).astype(np.float64))
    last, total = bins[kept - 1], counts[-1]
    tail = total - counts[kept]
    raised = last + tail
    p_log_p = own[kept] - _xlogx(last) + _xlogx(raised)
    # First bin of each level: j belongs to the level k with k * i / levels <= j < (k + 1) * i / levels.
    edges = np.ceil(np.arange(levels + 1)[None, :] * kept[:, None] / levels).astype(np.int64)
    mass = np.diff(counts[edges], axis=1)
    spread = np.diff(filled[edges], axis=1)
    height = np.log(np.where(spread > 0, mass / np.maximum(spread, 1.0), 1.0))
    # The level of the last bin: with fewer bins than levels the levels behind it are empty.
    last_level = ((kept - 1) * levels) // kept
    cross = (mass * height).sum(axis=1) + tail * height[np.arange(len(kept)), last_level]
    inside = counts[kept]
    with np.errstate(divide="ignore", invalid="ignore"):
        result = (p_log_p - cross) / total - np.log(total) + np.log(inside)
    result[(last == 0.0) & (tail > 0.0)] = np.inf
    result[~np.isfinite(result)] = np.inf
    return np.asarray(result, np.float64)


def _prefix(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values)])


def _xlogx(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values > 0, values * np.log(np.maximum(values, 1e-300)), 0.0)
