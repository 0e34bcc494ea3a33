"""Tensors of several parts in one flat mapping, such as `model/` and `optimizer/`."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def part_of(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """Return those whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
