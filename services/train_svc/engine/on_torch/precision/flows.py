"""What flows into a module and out of it: its arguments, and of the context what the module itself reads and keeps."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.context import Context
from services.train_svc.engine.on_torch.block import TorchBlock

Change = Callable[[torch.Tensor], torch.Tensor]


def mapped(value: Any, change: Change) -> Any:  # noqa: ANN401 - whatever a module takes or gives
    """Return `value` with every tensor in its tuples, lists and mappings changed; a context stays as it is."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(each, change) for each in value))
    if isinstance(value, list | tuple):
        return type(value)(mapped(each, change) for each in value)
    if isinstance(value, dict):
        return {key: mapped(each, change) for key, each in value.items()}
    return value


def tensors_in(value: Any) -> list[torch.Tensor]:  # noqa: ANN401 - as above
    """Return the tensors in a value's tuples, lists and mappings."""
    found: list[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    mapped(value, note)
    return found


def mark(tensor: torch.Tensor, maker: str) -> None:
    """Note which operator made a tensor; one that was noted before stays its maker."""
    if not hasattr(tensor, "precision_maker"):
        tensor.precision_maker = maker  # type: ignore[attr-defined]  # a note on the tensor, which lives as long as it


def maker_of(tensor: torch.Tensor) -> str:
    """Return which operator made a tensor, or what it is a view of; empty: it is not known."""
    whole = tensor if tensor._base is None else tensor._base
    found: str = getattr(tensor, "precision_maker", "") or getattr(whole, "precision_maker", "")
    return found


def names_of(module: nn.Module) -> tuple[str, ...]:
    """Return the names under which a block may read or keep values: the texts among its settings."""
    if not isinstance(module, TorchBlock):
        return ()
    return tuple(value for value in vars(module.block).values() if isinstance(value, str) and value)


def change_context(context: Context, module: nn.Module, change: Change) -> None:
    """Change, in place, the tensors that a block reads of a context: values by its names, and its own state."""
    for name in names_of(module):
        if name in context.values:
            context.values[name] = mapped(context.values[name], change)
    for name in own_states(context.state, module):
        assert context.state is not None
        context.state[name] = change(context.state[name])


def own_states(state: Mapping[str, Any] | None, module: nn.Module) -> list[str]:
    """Return the names of a block's own carried tensors."""
    if not state or not isinstance(module, TorchBlock):
        return []
    return [name for name in state if name.rpartition(".")[0] == module.path]


def made(module: nn.Module, output: Any, context: Context | None, before: Mapping[str, Any]) -> list[torch.Tensor]:  # noqa: ANN401 - as above
    """Return the floating tensors that a run of a module gave: its output, the values that it kept, its new state.

    Args:
        module: that ran.
        output: what it returned.
        context: after the run.
        before: the context's values before it.
    """
    found = tensors_in(output)
    if context is not None:
        kept = [name for name in names_of(module) if context.values.get(name) is not before.get(name)]
        found += tensors_in([context.values[name] for name in kept])
        found += [context.new_state[name] for name in own_states(context.new_state, module)]
    return [tensor for tensor in found if tensor.is_floating_point()]


def context_in(values: tuple[Any, ...]) -> Context | None:
    """Return the context among a module's arguments."""
    return next((each for each in values if isinstance(each, Context)), None)


def copied(context: Context) -> Context:
    """Return a context of its own with the same tensors, cut from the graph."""
    other = copy.copy(context)
    other.values = {name: mapped(value, _cut) for name, value in context.values.items()}
    other.state = None if context.state is None else {name: _cut(value) for name, value in context.state.items()}
    other.padding, other.new_state, other.memo = dict(context.padding), dict(context.new_state), {}
    return other


def _cut(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)
