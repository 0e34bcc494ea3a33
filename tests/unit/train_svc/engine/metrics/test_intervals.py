"""Against published figures, and the bootstrap of SciPy."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import bootstrap  # type: ignore[import-untyped]  # has no types

from services.train_svc.engine.metrics import bootstrap_rate, wilson


@pytest.mark.parametrize(("correct", "samples"), [(81, 263), (1, 29), (15, 148), (0, 20), (20, 20)])
def test_wilson_solves_its_defining_equation(correct: int, samples: int) -> None:
    z, share = NormalDist().inv_cdf(0.975), correct / samples
    for end in wilson(correct, samples):
        assert abs(share - end) == pytest.approx(z * np.sqrt(end * (1 - end) / samples), abs=1e-12)


def test_nothing_seen_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


ERRORS = np.random.default_rng(0).poisson(1.0, 300)
LENGTHS = np.random.default_rng(1).integers(5, 30, 300)


def test_the_bootstrap_agrees_with_scipys() -> None:
    expected = bootstrap(
        (ERRORS, LENGTHS), lambda e, n, axis: e.sum(axis) / n.sum(axis), paired=True, vectorized=True,
        n_resamples=5000, method="percentile", random_state=0,
    ).confidence_interval  # fmt: skip
    low, high = bootstrap_rate(ERRORS, LENGTHS)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=0.03)
    assert low < ERRORS.sum() / LENGTHS.sum() < high


def test_the_same_utterances_give_the_same_interval() -> None:
    assert bootstrap_rate(ERRORS, LENGTHS) == bootstrap_rate(ERRORS, LENGTHS)
    assert bootstrap_rate(ERRORS, LENGTHS) != bootstrap_rate(ERRORS, LENGTHS, seed=1)


def test_one_utterance_has_no_spread() -> None:
    assert bootstrap_rate(np.array([1]), np.array([4])) == (0.25, 0.25)


def test_draws_of_empty_references_are_left_out() -> None:
    low, high = bootstrap_rate(np.array([0, 2]), np.array([0, 4]))
    assert (low, high) == (0.5, 0.5)
