"""Confidence intervals of accuracies and of their paired difference."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
"""97.5th percentile of the normal distribution: two-sided 95 per cent."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and its 95 per cent confidence interval."""

    value: float
    ci_low: float
    ci_high: float

    def to_mapping(self) -> dict[str, float]:
        """Return the form kept in the card."""
        return {"value": self.value, "ci_low": self.ci_low, "ci_high": self.ci_high}


def proportion(successes: int, samples: int) -> Estimate:
    """Return successes / samples with Wilson's score interval (Wilson 1927); `samples` is at least 1."""
    share, z2 = successes / samples, Z95**2
    centre = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = Z95 * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2)) / (1 + z2 / samples)
    return Estimate(value=share, ci_low=max(centre - half, 0.0), ci_high=min(centre + half, 1.0))


def paired_drop(parent: NDArray[np.bool_], variant: NDArray[np.bool_]) -> Estimate:
    """Return accuracy(parent) - accuracy(variant) on the same samples; both arrays say which were right.

    The interval is Newcombe's square-and-add of Wilson intervals for paired proportions, corrected for the
    correlation of the two (method 10 of R. G. Newcombe, "Improved confidence intervals for the difference between
    binomial proportions based on paired data", Statistics in Medicine 17, 1998). It keeps its coverage where the
    models disagree on few samples or none, where a bootstrap's interval would shrink to a point.
    """
    samples = len(parent)
    both = int(np.sum(parent & variant))
    lost = int(np.sum(parent & ~variant))
    gained = int(np.sum(~parent & variant))
    neither = samples - both - lost - gained
    first, second = proportion(both + lost, samples), proportion(both + gained, samples)
    phi = _correlation(both, lost, gained, neither)
    drop = (lost - gained) / samples
    below = _side(first.value - first.ci_low, second.ci_high - second.value, phi)
    above = _side(first.ci_high - first.value, second.value - second.ci_low, phi)
    return Estimate(value=drop, ci_low=max(drop - below, -1.0), ci_high=min(drop + above, 1.0))


def _side(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))


def _correlation(both: int, lost: int, gained: int, neither: int) -> float:
    """Return phi of the two-by-two table, with Newcombe's continuity correction where it is positive."""
    samples = both + lost + gained + neither
    scale = math.sqrt((both + lost) * (gained + neither) * (both + gained) * (lost + neither))
    if scale == 0.0:
        return 0.0
    product = float(both * neither - lost * gained)
    if product > 0:
        product = max(product - samples / 2, 0.0)
    return product / scale
