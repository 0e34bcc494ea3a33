"""Blended samples (MixUp, CutMix, SpecMix), whose loss is that of two labels by their shares."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OTHER = "other_"


@dataclass(frozen=True)
class Side:
    """The targets of one of the two samples that were blended."""

    targets: Mapping[str, Any]
    """By the names that the loss reads."""
    share: Any = None
    """[batch] float32: how much of each sample's loss it is; None: all of it."""


def sides(targets: Mapping[str, Any]) -> tuple[Side, ...]:
    """Return the targets, or both samples' where there is a `share`.

    Args:
        targets: NumPy arrays or an engine's tensors; the second sample's begin with `other_`.
    """
    if "share" not in targets:
        return (Side(targets),)
    share = targets["share"]
    others = {name.removeprefix(OTHER): value for name, value in targets.items() if name.startswith(OTHER)}
    return Side(targets, share), Side({**targets, **others}, 1 - share)
