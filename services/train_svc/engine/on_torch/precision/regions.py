"""A module that computes in a number format of its own within torch's autocast.

The module's class is exchanged for a subclass whose `forward` opens the region, so that parameters, names, hooks and
`isinstance` stay as they are, and the compiler reads it as any other method. Inside a float32 region autocast is off,
and its format is set to float32, which nothing else does: so a region within it knows that autocast surrounds both.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.on_torch.block import TorchBlock
from services.train_svc.engine.on_torch.precision.casting import HALF
from services.train_svc.engine.on_torch.precision.flows import change_context, context_in, mapped, tensors_in


@dataclass(frozen=True, kw_only=True)
class Region:
    """What a module does otherwise than what is around it."""

    dtype: torch.dtype
    """float32, or autocast's format inside."""
    gives_float32: bool = False
    """Whether it hands on float32: what is around it computes so."""

    def enter(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return an input in the region's format; what is not of another half format stays."""
        return tensor.to(self.dtype) if tensor.dtype in HALF and tensor.dtype != self.dtype else tensor

    def leave(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return an output in the format of what is around."""
        return tensor.float() if self.gives_float32 and tensor.dtype in HALF else tensor


class Regional(nn.Module):
    """Opens its region in `forward`."""

    precision_region: Region

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the module takes and gives
        """Return what the module makes, computed in its region if autocast is on around it."""
        device = autocast_device(args, kwargs)
        if not device:
            return super().forward(*args, **kwargs)
        region = self.precision_region
        context = context_in(args)
        with torch.autocast(device, dtype=region.dtype, enabled=region.dtype in HALF):
            if context is not None:
                change_context(context, self, region.enter)
            output = super().forward(*mapped(args, region.enter), **mapped(kwargs, region.enter))
            return mapped(output, region.leave)


class RegionalBlock(Regional):
    """A block that also looks at a memory before its first frame."""

    def project(self, memory: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return what the block makes of a memory, computed in its region if autocast is on around it."""
        inner = super().project  # type: ignore[misc]  # the block's own
        device = autocast_device((memory,), {})
        if not device:
            return tuple(inner(memory))
        region = self.precision_region
        with torch.autocast(device, dtype=region.dtype, enabled=region.dtype in HALF):
            return tuple(mapped(tuple(inner(region.enter(memory))), region.leave))


def autocast_device(args: Any, kwargs: Any) -> str:  # noqa: ANN401 - whatever a module takes
    """Return the kind of device of the first tensor if autocast, or a region, is open for it; else nothing."""
    found = tensors_in((args, kwargs))
    if not found:
        return ""
    kind = found[0].device.type
    surrounded = torch.is_autocast_enabled(kind) or torch.get_autocast_dtype(kind) is torch.float32
    return kind if surrounded else ""


def open_region(module: nn.Module, region: Region) -> None:
    """Give a module a region."""
    mixin = RegionalBlock if isinstance(module, TorchBlock) and hasattr(module, "project") else Regional
    module.__class__ = exchanged(mixin, type(module))  # type: ignore[arg-type]  # a class has a hash
    module.precision_region = region  # type: ignore[assignment]  # no tensor, and no module


def close_region(module: nn.Module) -> None:
    """Make a module as it was; one without a region stays."""
    if isinstance(module, Regional):
        del module.precision_region
        module.__class__ = type(module).__mro__[type(module).__mro__.index(Regional) + 1]


@cache
def exchanged(mixin: type, kind: type) -> type:
    """Return `kind` with the methods of `mixin` before its own, under the same name."""
    return type(kind.__name__, (mixin, kind), {"__module__": kind.__module__})
