"""Activations of a model's units computed again in the backward pass instead of kept.

Chen et al. 2016, arXiv 1604.06174; on `torch.utils.checkpoint`, whose recomputation sees the same random numbers and
the same autocast. What a unit changes besides its output would be changed twice, so that a unit is made a pure function
here: it works on a copy of the context, and while it is recomputed its buffers are others.
"""

import logging
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock
from services.train_svc.engine.on_torch.memory.buffers import Buffers

Changes = dict[str, dict[Any, Any]]
"""What a unit left in its context, by field."""
Made = tuple[torch.Tensor, Changes]
"""A unit's output and changes. It has a name as torch.compile reads no subscript in a function."""
NAMED = ("values", "new_state", "memo", "padding")
"""Fields of a context that blocks fill by name."""
PLAIN = ("lengths", "mask", "chunk")
"""Fields that blocks replace."""


def recompute(model: nn.Module, names: Iterable[str]) -> None:
    """Let modules keep their inputs alone, and compute the rest again in the backward pass.

    Gradients stay as they are, to the last bit. It compiles without a break in the graph. Call it before the model is
    compiled; no parameter changes its name.

    Args:
        model: what holds them.
        names: theirs, none within another; as `units_of` gives them.
    """
    # torch warns of in-place operators wherever a checkpoint keeps some of its values; units have none but on buffers.
    logging.getLogger("torch._higher_order_ops.wrap").addFilter(_says_more)
    for name in names:
        module = model.get_submodule(name)
        if is_recomputed(module):
            continue
        own = vars(module).get("forward")
        again = _block_again if isinstance(module, TorchBlock) else _module_again
        # A method, which `copy.deepcopy` binds to the copy.
        vars(module)["forward"] = MethodType(again, module)
        vars(module)["_forward_once"] = own
        vars(module)["_kept_buffers"] = Buffers(module)


def lift(model: nn.Module) -> None:
    """Let all modules keep their activations again. Compile the model anew after it."""
    for module in model.modules():
        if is_recomputed(module):
            attributes = vars(module)
            own = attributes.pop("_forward_once")
            del attributes["forward"], attributes["_kept_buffers"]
            if own is not None:
                attributes["forward"] = own


def is_recomputed(module: nn.Module) -> bool:
    """Say whether the module's activations are recomputed."""
    return "_kept_buffers" in vars(module)


def _module_again(module: nn.Module, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        own = module._forward_once
        return type(module).forward(module, *args, **kwargs) if own is None else own(*args, **kwargs)  # type: ignore[operator]  # a method

    if not (module.training and torch.is_grad_enabled()):
        return run(*args, **kwargs)
    return _checkpointed(module, run, *args, **kwargs)


def _block_again(module: TorchBlock, x: torch.Tensor, context: Context) -> torch.Tensor:
    forward = type(module).forward
    if not (module.training and torch.is_grad_enabled()):
        return forward(module, x, context)
    before = copied(context)

    def run(x: torch.Tensor) -> Made:
        inner = copied(before)
        y = forward(module, x, inner)
        return y, changes(before, inner)

    y, changed = _checkpointed(module, run, x)
    adopt(context, changed)
    result: torch.Tensor = y
    return result


def _checkpointed(module: nn.Module, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    if torch.compiler.is_compiling():
        # A compiled step changes each buffer once, at its end.
        return checkpoint(run, *args, use_reentrant=False, context_fn=attention_kept, **kwargs)
    buffers: Buffers = module._kept_buffers  # type: ignore[assignment]  # set by `recompute`
    before, ran = buffers.taken(), False

    def first_or_again(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        nonlocal ran
        if ran:
            with buffers.lent(before):
                return run(*args, **kwargs)
        ran = True
        return run(*args, **kwargs)

    result = checkpoint(first_or_again, *args, use_reentrant=False, **kwargs)
    buffers.watch(before)
    return result


def attention_kept() -> Any:  # noqa: ANN401 - torch's two contexts
    """Return the contexts of a compiled checkpoint that keeps what fused attention made.

    That is small beside what attention costs to compute again (Korthikanti et al. 2022, arXiv 2205.05198); and its
    kernels draw the random numbers of their dropout from the generator's state, which a CUDA graph cannot wind back.
    """
    return create_selective_checkpoint_contexts(_policy)  # type: ignore[no-untyped-call]  # torch's own


def _says_more(record: logging.LogRecord) -> bool:
    return "context_fn is passed" not in record.getMessage()


def _policy(_context: Any, operator: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:  # noqa: ANN401
    attends = "_scaled_dot_product" in str(operator)
    return CheckpointPolicy.MUST_SAVE if attends else CheckpointPolicy.PREFER_RECOMPUTE


def copied(context: Context) -> Context:
    """Return a context with the same tensors, whose changes do not show in the other."""
    result = Context(dict(context.values), context.state, training=context.training)
    result.padding, result.new_state = dict(context.padding), dict(context.new_state)
    result.memo = dict(context.memo)
    result.lengths, result.mask, result.chunk = context.lengths, context.mask, context.chunk
    return result


def changes(before: Context, after: Context) -> Changes:
    """Return what differs in the later of two contexts, by field; nothing is ever taken out of one."""
    changed: Changes = {}
    for field in NAMED[:-1]:
        old, new = getattr(before, field), getattr(after, field)
        changed[field] = {name: value for name, value in new.items() if name not in old or value is not old[name]}
    # By their tensors: torch.compile cannot tell whether two pairs are one.
    known = before.padding
    changed["padding"] = {
        name: pair
        for name, pair in after.padding.items()
        if name not in known or pair[0] is not known[name][0] or pair[1] is not known[name][1]
    }
    changed["plain"] = {
        field: getattr(after, field) for field in PLAIN if getattr(after, field) is not getattr(before, field)
    }
    return changed


def adopt(context: Context, changed: Changes) -> None:
    """Make the changes in a context."""
    for field in NAMED:
        getattr(context, field).update(changed[field])
    for field, value in changed["plain"].items():
        setattr(context, field, value)
