"""Whether named tensors fit a model."""

from collections.abc import Mapping

from services.common.errors import InvalidError
from services.common.names import nearest

Shapes = Mapping[str, tuple[int, ...]]
NAMED = 10
"""Faults that a message names."""


def check_fit(wanted: Shapes, given: Shapes, source: str) -> None:
    """Check that every tensor is there, none is unknown, and each has the wanted shape.

    Raises:
        InvalidError: with the faults, each by its tensor's name.
    """
    faults = [f"{name!r} is missing{nearest(name, given)}" for name in wanted.keys() - given.keys()]
    faults += [f"{name!r} is unknown{nearest(name, wanted)}" for name in given.keys() - wanted.keys()]
    faults += [
        f"{name!r} has shape {list(given[name])}, wanted {list(wanted[name])}"
        for name in wanted.keys() & given.keys()
        if given[name] != wanted[name]
    ]
    if faults:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        message = f"the weights of {source} do not fit: {'; '.join(sorted(faults)[:NAMED])}{more}"
        raise InvalidError(message, field="weights")
