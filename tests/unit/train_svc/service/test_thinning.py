"""Thinned curves look like the whole ones."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.train_svc.models import Point
from services.train_svc.service.thinning import thin


def curve(values: list[float]) -> list[Point]:
    return [Point("x", step, value, 0.0) for step, value in enumerate(values)]


@given(st.lists(st.floats(allow_nan=False), max_size=300), st.integers(4, 60))
def test_ends_and_extremes_stay_and_the_order_too(values: list[float], most: int) -> None:
    points = curve(values)
    kept = thin(points, len(points), most)
    assert len(kept) <= max(most, 0)
    assert [point.step for point in kept] == sorted({point.step for point in kept})
    if values:
        assert {point.value for point in kept} >= {min(values), max(values), values[0], values[-1]}


@pytest.mark.parametrize("most", [0, 5, 100])
def test_few_points_stay_as_they_are(most: int) -> None:
    points = curve([3.0, 1.0, 2.0])
    assert thin(points, 3, most) == points


@pytest.mark.parametrize("most", [1, 2, 3])
def test_the_last_point_is_the_last_to_go(most: int) -> None:
    kept = thin(curve([float(i) for i in range(50)]), 50, most)
    assert len(kept) <= most
    assert kept[-1].step == 49


def test_a_curve_that_broke_shows_it() -> None:
    values = [1.0] * 1000
    values[500] = math.nan
    assert any(math.isnan(point.value) for point in thin(curve(values), 1000, 20))
