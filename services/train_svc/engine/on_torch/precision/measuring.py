"""The sensitivity pass: each operator of a model measured in a short format against float32, and what follows."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from services.train_svc.engine.on_torch.block import TorchBlock
from services.train_svc.engine.on_torch.model import Model
from services.train_svc.engine.on_torch.normalization import StochasticDepth
from services.train_svc.engine.on_torch.precision.applying import apply_policy, lift_policy
from services.train_svc.engine.on_torch.precision.casting import DTYPES
from services.train_svc.engine.on_torch.precision.comparing import Tally
from services.train_svc.engine.on_torch.precision.passes import Passes, Step, Whole, difference
from services.train_svc.engine.on_torch.precision.watching import Rules, Watch
from services.train_svc.engine.precision import Base, Limits, Operator, Policy, decide
from services.train_svc.engine.precision.deciding import ROUNDOFF

DROPPING: tuple[tuple[type[nn.Module], str], ...] = (
    (_DropoutNd, "p"),
    (StochasticDepth, "rate"),
    (nn.RNNBase, "dropout"),
    (nn.MultiheadAttention, "dropout"),
)
"""Modules that drop, each with the name of its share."""


def measure_sensitivity(
    model: nn.Module, step: Step | Sequence[Step], *, base: Base, limits: Limits | None = None
) -> Policy:
    """Return the policy that a model needs on some real batches.

    An operator is a module that computes something itself: a layer, or a block such as an attention, whose own work is
    then measured with the layers inside it kept in float32. What autocast does with a module alone counts as the base
    precision; inputs come in the formats that autocast gives them, and incoming gradients are multiplied by the loss
    scale that training would settle at. Dropout is off, for it draws otherwise in each format. Weights, buffers,
    gradients' slots (empty afterwards) and random numbers are left as they were; a policy on the model is taken off.

    Args:
        model: on its device, in training mode, not compiled and without recomputation.
        step: of one batch, or one for each of several.
        base: what most operators shall run in.
        limits: what an operator may do in it.

    Raises:
        InvalidError: loss or gradients are not finite even in float32, or nothing wants a gradient.
    """
    limits = limits or Limits()
    steps = [step] if callable(step) else list(step)
    lift_policy(model)
    passes = Passes(model, steps)
    with _undisturbed(model), torch.random.fork_rng(_cards(model)):
        scouts = [passes.scout(each, DTYPES[base]) for each in steps]
        names = list(dict.fromkeys(name for scout in scouts for name in scout.working))
        exact = passes.run(names=names)
        scale = _scale(base, exact, limits)
        plain = passes.settled(DTYPES[base], scale)
        tallies = {name: Tally() for name in names}
        suspect = limits.roundoffs * ROUNDOFF[base]
        rules = Rules(dtype=DTYPES[base], scale=scale, calls=limits.calls, suspect=suspect)
        for each, scout, peaks in zip(steps, scouts, exact.peaks, strict=True):
            passes.watched(each, Watch(scout, tallies, rules, peaks.runs))
        operators = decide([_operator(model, name, tally, base) for name, tally in tallies.items()], base, limits)
        policy = Policy(model=_name(model), base=base, loss_scale=scale, operators=operators)
        apply_policy(model, policy)
        try:
            measured = passes.settled(DTYPES[base], scale)
        finally:
            lift_policy(model)
    return replace(policy, plain=difference(exact, plain), measured=difference(exact, measured))


def _scale(base: Base, exact: Whole, limits: Limits) -> float:
    # Where training's dynamic scale would come to rest if no operator's gradients were far out of the usual.
    largest = [peaks.largest for peaks in exact.peaks]
    sizes = [size for each in largest for size in each.values() if size]
    usual = limits.gradient_range * statistics.median(sizes or [0.0])
    peak = max([exact.peak, *(size for size in sizes if size <= usual)])
    scale = limits.loss_scale if base == "fp16" else 1.0
    while scale > 1 and peak * scale > torch.finfo(torch.float16).max / 2:
        scale /= 2
    return scale


def _operator(model: nn.Module, name: str, tally: Tally, base: Base) -> Operator:
    module = model.get_submodule(name)
    return Operator(
        name=name,
        precision=base,
        forward_error=tally.error("output"),
        gradient_error=tally.error("gradient"),
        onward_error=tally.error("onward"),
        overflow=tally.overflow,
        underflow=tally.underflow,
        kind=module.block.kind if isinstance(module, TorchBlock) else type(module).__name__,
    )


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    # No dropout within, as far as torch's modules and ours drop.
    kept: list[tuple[nn.Module, str, Any]] = []
    for module in model.modules():
        for kind, name in DROPPING:
            if isinstance(module, kind):
                kept.append((module, name, getattr(module, name)))
                setattr(module, name, 0.0)
        if isinstance(module, TorchBlock) and "dropout" in [each.name for each in fields(module.block)]:
            kept.append((module, "block", module.block))
            module.block = replace(module.block, dropout=0.0)
    try:
        yield
    finally:
        for module, name, value in reversed(kept):
            setattr(module, name, value)


def _cards(model: nn.Module) -> list[int]:
    device = next(model.parameters()).device
    return [device.index or 0] if device.type == "cuda" else []


def _name(model: nn.Module) -> str:
    return model.description.name if isinstance(model, Model) else type(model).__name__
