"""Any torch model called with a batch: ours by the names of its inputs, a user's own in their order."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from services.common.errors import InvalidError
from services.train_svc.engine.on_torch.model import Model

Tensors = dict[str, torch.Tensor]
OUTPUT = "output"
"""Name of the one tensor that a user's own module gives."""


def output_name(model: nn.Module) -> str:
    """Return the name of a model's one output: that of its description, or `output`."""
    return next(iter(model.description.output_shapes)) if isinstance(model, Model) else OUTPUT


def materialize(model: nn.Module, inputs: Callable[[], Mapping[str, Any]]) -> None:
    """Give the lazy layers of a user's own module their sizes, if it has such, by calling it once.

    Args:
        model: any module.
        inputs: gives those of a batch, on the host; called if they are needed.
    """
    if any(map(is_lazy, model.parameters())):
        with torch.no_grad():
            model(*(torch.as_tensor(array) for array in inputs().values()))


def call(model: nn.Module, inputs: Tensors, name: str) -> Tensors:
    """Return a model's outputs by name: those of its description; else `output`, `output_1` ... or its own keys.

    Args:
        model: what `build` made, or any module.
        inputs: by name; a module that is not ours gets them in their order.
        name: what `output_name` gave.

    Raises:
        InvalidError: the module gives something that holds no tensors.
    """
    if isinstance(model, Model):
        return named(model(**inputs), name)
    return named(model(*inputs.values()), name)


def named(outputs: Any, name: str) -> Tensors:  # noqa: ANN401 - whatever a module returns
    """Return the tensors of a result by name."""
    if isinstance(outputs, torch.Tensor):
        return {name: outputs}
    if isinstance(outputs, Mapping):
        return {key: value for key, value in outputs.items() if isinstance(value, torch.Tensor)}
    if isinstance(outputs, list | tuple):
        tensors = [each for each in outputs if isinstance(each, torch.Tensor)]
        return {f"{name}_{place}" if place else name: each for place, each in enumerate(tensors)}
    message = f"the model returns a {type(outputs).__name__}; return a tensor, a tuple of tensors or a dict of them"
    raise InvalidError(message, field="model")
