"""Measures applied to a model, and which of them it can take."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from services.train_svc.engine.memory import Ladder, Measures, ladder, spread
from services.train_svc.engine.memory.measures import MomentsPrecision
from services.train_svc.engine.on_torch.memory.head import Head, defer_head, outlet, restore_head
from services.train_svc.engine.on_torch.memory.offload import activations_on_host
from services.train_svc.engine.on_torch.memory.recompute import lift, recompute
from services.train_svc.engine.on_torch.memory.units import units_of


def apply_measures(model: nn.Module, measures: Measures) -> Head | None:
    """Recompute units and put off the head as the measures say, in place of what was applied before.

    Compile the model after it; one that was compiled before must be compiled anew, after `torch.compiler.reset()`.
    Pieces, the moments' format (the optimizer), `saving` and `HostMoments` are the learner's.

    Returns:
        The layer that makes the scores, where `chunked_head` is set and the model has one.
    """
    lift_measures(model)
    recompute(model, spread(units_of(model), measures.recompute))
    return defer_head(model) if measures.chunked_head else None


def lift_measures(model: nn.Module) -> None:
    """Let the model be as it was built."""
    lift(model)
    restore_head(model)


def saving(model: nn.Module, measures: Measures) -> AbstractContextManager[None]:
    """Return the context for forward pass and loss."""
    return activations_on_host(model) if measures.offload_activations else nullcontext()


def ladder_of(
    model: nn.Module,
    *,
    batch: int,
    head: bool,
    moments: Sequence[MomentsPrecision] = (),
    offload: bool = False,
    most_pieces: int = 64,
) -> Ladder:
    """Return what a run of a model may take.

    Args:
        model: any module.
        batch: samples a step.
        head: whether the loss is a cross entropy over the model's one output, which can be computed in chunks.
        moments: formats that the optimizer's moments can have besides float32.
        offload: whether the model is on a device with memory of its own.
        most_pieces: of a batch.
    """
    return ladder(
        most_pieces=min(batch, most_pieces),
        pieces_exact=not any(isinstance(module, _BatchNorm) for module in model.modules()),
        units=len(units_of(model)),
        head=head and bool(outlet(model)),
        moments=moments,
        offload=offload,
    )
