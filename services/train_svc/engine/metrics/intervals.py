"""How sure a measured figure is: 95% intervals of shares and of error rates."""

import math

import numpy as np

from services.train_svc.engine.metrics.metric import Array

Z_95 = 1.959963984540054
RESAMPLES = 1000
DRAWS_AT_ONCE = 2_000_000
"""Bounds the memory of the bootstrap: 16 MB of places at once, however many utterances there are."""


def wilson(correct: int, samples: int, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927), 95% unless told."""
    if samples == 0:
        return 0.0, 1.0
    share, square = correct / samples, z * z / samples
    middle = share + square / 2
    spread = z * math.sqrt(share * (1 - share) / samples + square / (4 * samples))
    # At the ends the formula is exactly 0 or 1, which rounding misses.
    low = 0.0 if correct == 0 else (middle - spread) / (1 + square)
    high = 1.0 if correct == samples else (middle + spread) / (1 + square)
    return low, high


def bootstrap_rate(errors: Array, lengths: Array, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of sum(errors) / sum(lengths).

    Utterances are drawn with replacement, since errors within one depend on one another (Bisani and Ney 2004,
    "Bootstrap estimates for confidence intervals in ASR performance evaluation").

    Args:
        errors: [utterances], edits of each.
        lengths: [utterances], reference tokens of each; not all zero.
        resamples: how many sets of utterances are drawn.
        seed: of the draws; the same seed gives the same interval.
    """
    count = len(errors)
    random = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // count)
    rates = []
    for start in range(0, resamples, at_once):
        drawn = random.integers(count, size=(min(at_once, resamples - start), count))
        # A draw of nothing but empty references has no rate; it is left out below.
        with np.errstate(divide="ignore", invalid="ignore"):
            rates.append(errors[drawn].sum(axis=1) / lengths[drawn].sum(axis=1))
    found = np.concatenate(rates)
    low, high = np.percentile(found[np.isfinite(found)], (2.5, 97.5))
    return float(low), float(high)
