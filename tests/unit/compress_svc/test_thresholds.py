import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.compress_svc.engine.divergence import FIRST_CANDIDATE, kl_divergences, kl_threshold_bins
from services.compress_svc.engine.histograms import BINS, Extremes, Histogram
from services.compress_svc.engine.recipe import Calibration
from services.compress_svc.engine.thresholds import choose_range

METHODS: tuple[Calibration, ...] = ("minmax", "percentile", "entropy", "mse")


def histogram(values: NDArray[np.float32], parts: int = 1) -> Histogram:
    found = Histogram(low=float(values.min()), high=float(values.max()))
    for part in np.array_split(values, parts):
        found.add(part)
    return found


def kl_by_the_definition(bins: NDArray[np.float64], i: int, levels: int) -> float:
    """NVIDIA's procedure, step by step."""
    p = bins[:i].copy()
    p[-1] += bins[i:].sum()
    level_of = np.array([j * levels // i for j in range(i)])
    q = np.zeros(i)
    for level in range(levels):
        members = (level_of == level) & (bins[:i] > 0)
        if members.any():
            q[members] = bins[:i][members].sum() / members.sum()
    p, q = p / p.sum(), q / q.sum()
    if np.any((p > 0) & (q == 0)):
        return math.inf
    return float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))


@pytest.mark.parametrize("levels", [128, 256])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_divergence_by_prefix_sums_is_the_one_of_the_definition(levels: int, sparse: bool) -> None:
    rng = np.random.default_rng(levels)
    counts = np.histogram(np.abs(rng.laplace(size=20_000)), bins=600)[0]
    if sparse:
        counts = counts * (rng.random(600) < 0.4)
    bins = counts.astype(np.float64)
    got = kl_divergences(bins, levels)
    for i in (128, 129, 200, 255, 256, 257, 300, 511, 599, 600):
        wanted = kl_by_the_definition(bins, i, levels)
        assert got[i - FIRST_CANDIDATE] == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_entropy_clips_the_far_tail_and_is_not_minmax() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=100_000), [40.0, -38.0]]).astype(np.float32)
    low, high = choose_range(histogram(values), "entropy")
    assert -20 < low < -2
    assert 2 < high < 20


def test_the_last_of_equal_minima_is_taken() -> None:
    bins = np.zeros(BINS, np.int64)
    bins[:100] = 1
    assert kl_threshold_bins(bins, 256) == BINS


def squared_error(values: NDArray[np.float32], low: float, high: float) -> float:
    scale = (high - low) / 255
    zero = round(-low / scale)
    codes = np.clip(np.round(values.astype(np.float64) / scale) + zero, 0, 255)
    return float(np.mean(((codes - zero) * scale - values) ** 2))


@pytest.mark.parametrize("shape", ["two outliers", "skewed", "relu"])
def test_mse_loses_no_more_than_the_other_methods(shape: str) -> None:
    rng = np.random.default_rng(1)
    values = {
        "two outliers": np.concatenate([rng.normal(size=50_000), [30.0, -5.0]]),
        "skewed": rng.exponential(size=50_000) - 0.2,
        "relu": np.maximum(rng.normal(size=50_000), 0),
    }[shape].astype(np.float32)
    seen = histogram(values)
    errors = {method: squared_error(values, *choose_range(seen, method)) for method in METHODS}
    assert errors["mse"] <= 1.02 * min(errors.values())


def test_mse_searches_each_bound_apart() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(size=1_000_000), [60.0]]).astype(np.float32)
    low, high = choose_range(histogram(values), "mse")
    assert high < 40
    assert -6 < low < -2


def test_percentile_cuts_each_tail_where_it_says() -> None:
    values = np.linspace(-1.0, 3.0, 400_001, dtype=np.float32)
    low, high = choose_range(histogram(values), "percentile", 99.0)
    assert low == pytest.approx(-0.96, abs=0.01)
    assert high == pytest.approx(2.96, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60),
    st.sampled_from(METHODS),
)
def test_every_range_holds_zero_and_stays_within_what_was_seen(values: list[float], method: Calibration) -> None:
    array = np.array(values, np.float32)
    low, high = choose_range(histogram(array), method)
    assert min(float(array.min()), 0.0) <= low <= 0.0 <= high <= max(float(array.max()), 0.0)
    assert high > low or not np.any(array)


@pytest.mark.parametrize("parts", [2, 7, 1000])
def test_the_order_and_size_of_batches_change_nothing(parts: int) -> None:
    values = np.random.default_rng(3).normal(size=10_000).astype(np.float32)
    whole, split = histogram(values), histogram(values, parts)
    assert np.array_equal(whole.counts, split.counts)
    assert whole.zeros == split.zeros


def test_a_first_batch_of_small_range_does_not_grow_the_histogram() -> None:
    small, large = np.full(1000, 1e-6, np.float32), np.array([1e6], np.float32)
    seen = Histogram(low=1e-6, high=1e6)
    seen.add(small)
    seen.add(large)
    assert len(seen.counts) == 2 * BINS
    assert seen.counts.sum() == 1001


def test_a_nan_names_its_tensor() -> None:
    with pytest.raises(InvalidError, match="'conv1' holds NaN"):
        Extremes().add("conv1", np.array([1.0, np.nan], np.float32))
