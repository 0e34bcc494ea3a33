"""Which module of a model first gave something that is no number."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

Found = list[str]
ITSELF = "the model itself"


def first_fault(model: nn.Module, loss: Callable[[], torch.Tensor]) -> str:
    """Return what first is not finite in a step that is made again, without changing weights; empty: nothing is.

    Args:
        model: whose modules are watched.
        loss: computes the loss of the batch, not compiled.
    """
    for name, parameter in model.named_parameters():
        if not _is_finite(parameter):
            return f"the weights {name!r} themselves"
    found: Found = []
    with _watched(model, found):
        value = loss()
        if not found and not _is_finite(value):
            found.append("the loss itself, from outputs that are finite")
        if not found and value.requires_grad:
            with warnings.catch_warnings():
                # Of the hooks of modules whose inputs need no gradient.
                warnings.simplefilter("ignore", UserWarning)
                torch.autograd.backward(value)
    model.zero_grad(set_to_none=True)
    return found[0] if found else ""


@contextmanager
def _watched(model: nn.Module, found: Found) -> Iterator[None]:
    handles = []
    for name, module in model.named_modules():
        # The whole model comes after all in it: what it computes itself.
        handles.append(module.register_forward_hook(_forward_watch(name or ITSELF, found)))
        if name:
            handles.append(module.register_full_backward_hook(_backward_watch(name, found)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _forward_watch(name: str, found: Found) -> Callable[[nn.Module, Any, Any], None]:
    def watch(module: nn.Module, given: Any, made: Any) -> None:  # noqa: ANN401 - whatever a module takes and gives
        if not found and not all(map(_is_finite, _tensors(made))):
            bad_input = not all(map(_is_finite, _tensors(given)))
            of = "the input of" if bad_input else "the output of"
            found.append(f"{of} {name!r} ({type(module).__name__})")

    return watch


def _backward_watch(name: str, found: Found) -> Callable[[nn.Module, Any, Any], None]:
    def watch(module: nn.Module, made: Any, given: Any) -> None:  # noqa: ANN401 - as above
        bad = not all(map(_is_finite, _tensors(made))) or not all(
            _is_finite(parameter.grad) for parameter in module.parameters(recurse=False) if parameter.grad is not None
        )
        if not found and bad:
            of = "the gradient that comes into" if not all(map(_is_finite, _tensors(given))) else "the gradient of"
            found.append(f"{of} {name!r} ({type(module).__name__})")

    return watch


def _tensors(value: Any) -> Iterator[torch.Tensor]:  # noqa: ANN401 - as above
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from (each for part in value.values() for each in _tensors(part))
    elif isinstance(value, list | tuple):
        yield from (each for part in value for each in _tensors(part))


def _is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
