"""The gate: declarative bounds on the figures of report cards, and the choice among what passes."""

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.common.errors import InvalidError
from services.common.names import nearest

FIGURES: dict[str, bool] = {
    "accuracy": True,
    "accuracy_drop": False,
    "size_bytes": False,
    "size_ratio": False,
    "p50_ms": False,
    "p99_ms": False,
    "speedup": True,
}
"""Every figure a bound may name, and whether more of it is better."""

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}

MAX_BOUND_CHARACTERS = 200
BOUND = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One demand, such as `accuracy_drop <= 0.01`."""

    figure: str
    comparison: str
    limit: float

    def __str__(self) -> str:
        """Return the bound as it is written."""
        return f"{self.figure} {self.comparison} {self.limit:g}"

    def holds(self, value: float) -> bool:
        """Say whether `value` satisfies the bound; NaN never does."""
        return OPERATORS[self.comparison](value, self.limit)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A version that may be chosen."""

    variant: str
    digest: str
    figures: dict[str, float]
    """Flat figures of its card; one that was not measured is absent."""


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A bound that a candidate does not keep."""

    bound: Bound
    value: float | None
    """What the card says; None where it says nothing."""

    def __str__(self) -> str:
        """Return the bound, and by how much it was missed."""
        if self.value is None:
            return f"{self.bound}: its card has no {self.bound.figure}"
        return f"{self.bound}: {self.value:.6g} misses it by {abs(self.value - self.bound.limit):.4g}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate found."""

    chosen: Candidate | None
    misses: dict[str, list[Miss]]
    """For every candidate by variant, the bounds it missed; empty where it passed."""

    def refusal(self) -> str:
        """Return the sentence that stops a lifecycle: for each variant, which bound and by how much."""
        parts = [f"{variant} ({'; '.join(map(str, misses))})" for variant, misses in self.misses.items()]
        return "no variant passes the gate: " + ", ".join(parts) + ". Loosen the bound, or change `train` or `compress`"


def parse_bound(text: object) -> Bound:
    """Return the bound that `text` states.

    Raises:
        InvalidError: it is not `figure <= number`, or names a figure that no card has; the known ones are listed.
    """
    found = BOUND.fullmatch(text) if isinstance(text, str) and len(text) < MAX_BOUND_CHARACTERS else None
    if not found:
        raise InvalidError(
            f"{text!r} is not a bound; write a figure, one of {', '.join(OPERATORS)}, and a number, "
            "such as 'accuracy_drop <= 0.01'"
        )
    figure, comparison, limit = found.groups()
    if not math.isfinite(float(limit)):
        raise InvalidError(f"{limit} is too large for a bound; give a finite number")
    return Bound(figure=check_figure(figure), comparison=comparison, limit=float(limit))


def check_figure(name: object) -> str:
    """Return `name` if cards have such a figure, or list those they have."""
    if isinstance(name, str) and name in FIGURES:
        return name
    hint = nearest(name, FIGURES) if isinstance(name, str) else ""
    raise InvalidError(f"{name!r} is not a figure of report cards{hint}; known are: {', '.join(FIGURES)}")


def choose(candidates: list[Candidate], bounds: list[Bound], prefer: str) -> Verdict:
    """Return the passing candidate that is best by the figure `prefer`, and what every other one missed.

    A candidate whose card lacks the preferred figure ranks behind all that have it; the first listed wins a tie.
    """
    misses = {one.variant: _misses(one, bounds) for one in candidates}
    passing = [one for one in candidates if not misses[one.variant]]
    sign = -1.0 if FIGURES[prefer] else 1.0
    chosen = min(passing, key=lambda one: sign * one.figures.get(prefer, sign * math.inf), default=None)
    return Verdict(chosen=chosen, misses=misses)


def _misses(candidate: Candidate, bounds: list[Bound]) -> list[Miss]:
    found = []
    for bound in bounds:
        value = candidate.figures.get(bound.figure)
        if value is None or not bound.holds(value):
            found.append(Miss(bound=bound, value=value))
    return found


def read_figures(card: dict[str, Any], reference: dict[str, Any] | None = None) -> dict[str, float]:
    """Return the flat figures of a card; ratios are against `reference`, the card of the uncompressed variant."""
    figures = {
        "accuracy": _number(card, "metrics", "accuracy", "value"),
        "accuracy_drop": _number(card, "accuracy_drop", "value"),
        "size_bytes": _number(card, "size_bytes"),
        **_latency(card),
    }
    if reference is not None:
        base = {"size_bytes": _number(reference, "size_bytes"), **_latency(reference)}
        figures["size_ratio"] = _ratio(figures["size_bytes"], base["size_bytes"])
        figures["speedup"] = _ratio(base.get("p50_ms"), figures.get("p50_ms"))
        if card is reference and figures["accuracy_drop"] is None:
            figures["accuracy_drop"] = 0.0
    for name in FIGURES:  # What the card states itself goes before what is derived here.
        stated = _number(card, name)
        if stated is not None:
            figures[name] = stated
    return {name: value for name, value in figures.items() if value is not None}


def _latency(card: dict[str, Any]) -> dict[str, float | None]:
    """Return the card's first batch-1 figures: those of the machine it was measured on."""
    rows = card.get("latency")
    singles = (
        [row for row in rows if isinstance(row, dict) and row.get("batch", 1) == 1] if isinstance(rows, list) else []
    )
    if not singles:
        return {}
    return {"p50_ms": _number(singles[0], "p50_ms"), "p99_ms": _number(singles[0], "p99_ms")}


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _number(card: dict[str, Any], *path: str) -> float | None:
    value: Any = card
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
