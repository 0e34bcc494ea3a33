"""How a model is run: instances, threads, queue and batches."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.common.errors import InvalidError, Violation
from services.common.names import nearest


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How requests that wait together are run together."""

    max_batch_size: int = 16
    """Most rows of one run; 1 turns batching off."""
    max_queue_delay_us: int = 0
    """Microseconds that a request may wait for company; 0: batches form only while every instance is busy."""


@dataclass(frozen=True, kw_only=True)
class ServingOptions:
    """A deployment's `options`."""

    instances: int = 1
    """Runs at the same time."""
    threads: int = 0
    """Threads of one run; 0: one for a model that answers within milliseconds, else the cores shared by instances."""
    max_queue: int = 256
    """Requests that may wait; one more is refused with 429 or RESOURCE_EXHAUSTED."""
    inline_below_us: int = 1000
    """A model faster than this runs on the serving loop itself: a hop to a thread would cost more than it gives."""
    batching: Batching = field(default_factory=Batching)
    """Batches of models whose first dimension is of any size."""


LIMITS = {
    "instances": (1, 64),
    "threads": (0, 256),
    "max_queue": (1, 1_000_000),
    "inline_below_us": (0, 1_000_000),
    "batching.max_batch_size": (1, 4096),
    "batching.max_queue_delay_us": (0, 10_000_000),
}
"""Least and most of each option."""


def parse_options(data: object) -> ServingOptions:
    """Return the options that a mapping spells out.

    Raises:
        InvalidError: with a violation for each unknown key, wrong type and number out of bounds.
    """
    violations: list[Violation] = []
    top = _numbers(data, "", ServingOptions, violations)
    given = data.get("batching", {}) if isinstance(data, Mapping) else {}
    batching = _numbers(given, "batching.", Batching, violations)
    if violations:
        text = "; ".join(f"{v.field}: {v.message}" for v in violations)
        raise InvalidError(f"the options cannot be used: {text}", violations=violations)
    return ServingOptions(**top, batching=Batching(**batching))


def _numbers(data: object, prefix: str, kind: type, violations: list[Violation]) -> dict[str, int]:
    if not isinstance(data, Mapping):
        name = prefix.rstrip(".") or "options"
        violations.append(Violation(field=name, message=f"must be a mapping, not {type(data).__name__}"))
        return {}
    known = [f.name for f in dataclasses.fields(kind)]
    found: dict[str, int] = {}
    for key, value in data.items():
        if key == "batching" and not prefix:
            continue
        fault = _fault(f"{prefix}{key}", value) if key in known else f"unknown{nearest(str(key), known)}"
        if fault:
            violations.append(Violation(field=f"{prefix}{key}", message=fault))
        else:
            found[key] = value
    return found


def _fault(path: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    low, high = LIMITS[path]
    if isinstance(value, bool) or not isinstance(value, int):
        return f"must be an integer, not {value!r}"
    return "" if low <= value <= high else f"{value} is not within {low} to {high}"
