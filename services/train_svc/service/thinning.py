"""Fewer points that draw the same curve."""

import math
from collections.abc import Iterable, Iterator

from services.train_svc.models import Point

FEWEST = 4
"""Two ends and one pair of extremes."""


def thin(points: Iterable[Point], count: int, most: int) -> list[Point]:
    """Return at most `most` of `count` points: the first, the last, and of each stretch the least and the greatest.

    A plot of `most` / 2 pixel columns looks the same. NaN counts as greater than every number, so that a curve
    that broke shows it.

    Args:
        points: in the order of steps; read once, held one stretch at a time.
        count: how many they are.
        most: 0 for all; below 4 only ends are kept.
    """
    if most <= 0 or count <= most:
        return list(points)
    buckets = max(0, (most - 2) // 2)
    kept: list[Point] = []
    for stretch in _stretches(points, count, buckets):
        pair = {_least(stretch).step: _least(stretch), _greatest(stretch).step: _greatest(stretch)}
        kept += [pair[step] for step in sorted(pair)]
    return kept if most >= FEWEST else kept[-most:]


def _stretches(points: Iterable[Point], count: int, buckets: int) -> Iterator[list[Point]]:
    """Yield the first point alone, `buckets` equal stretches, and the last point alone."""
    stretch: list[Point] = []
    inner = max(1, count - 2)
    for index, point in enumerate(points):
        if index in (0, count - 1):
            if stretch:
                yield stretch
            stretch = []
            yield [point]
            continue
        if not buckets:
            continue
        stretch.append(point)
        if (index - 1) * buckets // inner != index * buckets // inner:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _least(stretch: list[Point]) -> Point:
    return min(stretch, key=lambda point: _rank(point.value))


def _greatest(stretch: list[Point]) -> Point:
    return max(stretch, key=lambda point: _rank(point.value))


def _rank(value: float) -> tuple[bool, float]:
    return (True, 0.0) if math.isnan(value) else (False, value)
