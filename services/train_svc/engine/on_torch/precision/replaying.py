"""One run of one module, made again alone: in float32, and as torch's autocast would make it."""

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.precision.applying import children_of
from services.train_svc.engine.on_torch.precision.casting import HALF
from services.train_svc.engine.on_torch.precision.flows import change_context, context_in, copied, made, mapped
from services.train_svc.engine.on_torch.precision.regions import exchanged


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one run of a module was given."""

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    """Cut from the graph; a context as it was before the run."""
    kwargs: dict[str, Any]
    formats: Sequence[torch.dtype]
    """In which its floating inputs come under autocast."""
    makers: Sequence[str]
    """The operators that made them; empty: none, or it is not known."""


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What a module gives."""

    formats: Sequence[torch.dtype] = ()
    """Of its floating outputs under autocast."""
    makers: Sequence[str] = ()
    """The operators that made them: itself, or those inside it."""

    def rounded(self, makers: Container[str] | None) -> list[torch.dtype]:
        """Return the formats, those of other makers as float32."""
        pairs = zip(self.formats, self.makers, strict=False)
        return [dtype if makers is None or maker in makers else torch.float32 for dtype, maker in pairs]


@dataclass(frozen=True, kw_only=True)
class Handover:
    """In which formats a module hands on what it made in float32."""

    formats: Sequence[torch.dtype]
    back: bool
    """Whether it is float32 again after the rounding."""


class Exact(nn.Module):
    """Computes in float32 whatever autocast says, and rounds its outputs to the formats that autocast gives them."""

    precision_handover: Handover

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the module takes and gives
        """Return what the module makes."""
        context, handover = context_in(args), self.precision_handover
        if context is not None:
            change_context(context, self, _lifted)
        with _without_autocast():
            output = super().forward(*mapped(args, _lifted), **mapped(kwargs, _lifted))
        places = iter(handover.formats)
        return mapped(output, lambda tensor: rounded(tensor, places, back=handover.back))


def replay(
    call: Call, children: Mapping[str, Handed], *, dtype: torch.dtype | None, makers: Container[str] | None = None
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return what a run gives when it is made again, and its inputs that want gradients.

    Inputs, and what modules inside it hand on, are rounded to the formats that they have under autocast; those modules
    compute in float32. So the difference of both replays is this module's own doing.

    Args:
        call: the run.
        children: what modules give, by name.
        dtype: autocast's; None: all is computed in float32.
        makers: the operators whose outputs are rounded; None: all.
    """
    leaves: list[torch.Tensor] = []
    places = iter(Handed(formats=call.formats, makers=call.makers).rounded(makers))
    handovers = {name: Handover(formats=each.rounded(makers), back=dtype is None) for name, each in children.items()}

    def enter(tensor: torch.Tensor) -> torch.Tensor:
        value = rounded(tensor.detach(), places, back=dtype is None)
        if tensor.requires_grad:
            leaves.append(value.requires_grad_())
        # A copy, for the module may change its input in place.
        return value.clone()

    args, kwargs = mapped((call.args, call.kwargs), enter)
    args = tuple(copied(each) if isinstance(each, Context) else each for each in args)
    context = context_in(args)
    if context is not None:
        change_context(context, call.module, enter)
    before = dict(context.values) if context is not None else {}
    device = next((each.device.type for each in leaves), next(call.module.parameters(), torch.empty(0)).device.type)
    torch.manual_seed(0)
    with _exact_children(call, handovers), _autocast(device, dtype):
        output = call.module(*args, **kwargs)
    return made(call.module, output, context, before), leaves


def rounded(tensor: torch.Tensor, places: Iterator[torch.dtype], *, back: bool) -> torch.Tensor:
    """Return a tensor in the next format, and with `back` in float32 again.

    One that does not fit stays float32: what makes it will then run in float32, and hand it on so.
    """
    if not tensor.is_floating_point():
        return tensor
    dtype = next(places, tensor.dtype)
    if dtype not in HALF:
        return tensor
    short = tensor.to(dtype)
    if not bool((torch.isfinite(short) | ~torch.isfinite(tensor)).all()):
        return tensor.float()
    return short.to(tensor.dtype) if back else short


@contextmanager
def _exact_children(call: Call, handovers: Mapping[str, Handover]) -> Iterator[None]:
    changed: list[tuple[nn.Module, type[nn.Module]]] = []
    for name, child in children_of(call.module, call.name):
        if child not in [module for module, _ in changed]:
            changed.append((child, type(child)))
            child.precision_handover = handovers.get(name, Handover(formats=(), back=True))  # type: ignore[assignment]  # no tensor
            child.__class__ = exchanged(Exact, type(child))  # type: ignore[arg-type]  # a class has a hash
    try:
        yield
    finally:
        for child, kind in changed:
            child.__class__ = kind
            del child.precision_handover


@contextmanager
def _autocast(device: str, dtype: torch.dtype | None) -> Iterator[None]:
    # Without its cache: cast weights would outlive the run, and their gradients with them.
    with _without_autocast(), torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        yield


@contextmanager
def _without_autocast() -> Iterator[None]:
    with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
        yield


def _lifted(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor
