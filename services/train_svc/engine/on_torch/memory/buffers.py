"""The buffers of a module that is recomputed: what it changed the first time, it must not change again."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

Place = tuple[nn.Module, str]
"""A module and the name of one of its buffers."""
Mark = tuple[int, int]
"""Which tensor a buffer is, and how often it was written to."""
Taken = list[tuple[Place, torch.Tensor, Mark]]
"""Buffers with copies of them."""


class Buffers:
    """The buffers of one module and those within.

    Running means of norms, which decide nothing while training, are replaced by scratch tensors while it is recomputed.
    Of other buffers, those that a forward pass changes are copied before it, and the recomputation sees the copies: a
    spectral norm's vectors are then those of the first time.

    Args:
        module: whose.
    """

    def __init__(self, module: nn.Module) -> None:
        owners = list(module.modules())
        self._norms = [owner for owner in owners if isinstance(owner, _NormBase) and owner.running_mean is not None]
        self._watched: list[Place] = [
            (owner, name) for owner in owners if owner not in self._norms for name in owner._buffers
        ]
        self._watching = True

    def taken(self) -> Taken:
        """Return copies of the buffers that a forward pass changes; of all, as long as it is not known which."""
        found = [(place, place[0]._buffers[place[1]]) for place in self._watched]
        return [(place, buffer.clone(), _mark(buffer)) for place, buffer in found if buffer is not None]

    def watch(self, before: Taken) -> None:
        """Find out, by the first forward pass, which buffers are changed; drop the copies of the others."""
        if self._watching:
            before[:] = [each for each in before if _mark(each[0][0]._buffers[each[0][1]]) != each[2]]
            self._watched = [place for place, *_ in before]
            self._watching = False

    @contextmanager
    def lent(self, before: Taken) -> Iterator[None]:
        """Let the module hold others than its own while it is recomputed."""
        others = [(place, copy.clone()) for place, copy, _ in before]
        for norm in self._norms:
            if norm.training:
                others += [((norm, name), _scratch(own)) for name, own in norm._buffers.items() if own is not None]
        own = [(owner, name, owner._buffers[name]) for (owner, name), _ in others]
        try:
            for (owner, name), other in others:
                owner._buffers[name] = other
            yield
        finally:
            for owner, name, buffer in own:
                owner._buffers[name] = buffer


def _mark(buffer: torch.Tensor | None) -> Mark:
    return (0, 0) if buffer is None else (id(buffer), buffer._version)


def _scratch(own: torch.Tensor) -> torch.Tensor:
    # A counter is read where there is no momentum; a mean is not.
    return torch.empty_like(own) if own.is_floating_point() else own.clone()
