"""The canonical store of named tensors: safetensors, one entry a parameter or buffer, in torch's layout."""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from services.common.errors import InvalidError
from services.common.names import nearest

METADATA = {"format": "pt"}


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the model's parameters and buffers by name, detached and contiguous."""
    return {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}


def write_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write named tensors to `path`, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(save(tensors, METADATA))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the named tensors of a file.

    Raises:
        InvalidError: it is missing, truncated or no safetensors.
    """
    try:
        return load_file(path)
    except (SafetensorError, FileNotFoundError) as error:
        raise InvalidError(f"{path} holds no readable tensors: {error}", field="weights") from error


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write the model's weights as safetensors."""
    write_tensors(named_tensors(model), Path(path))


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Fill the model with the weights of a file and return it.

    Raises:
        InvalidError: a tensor is missing, unknown, or has another shape; each is named.
    """
    fill(model, read_tensors(Path(path)), str(path))
    return model


def fill(model: nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Copy `tensors` into the model, all of them or none."""
    wanted = model.state_dict()
    faults = [f"{name!r} is missing{nearest(name, tensors)}" for name in wanted.keys() - tensors.keys()]
    faults += [f"{name!r} is unknown{nearest(name, wanted)}" for name in tensors.keys() - wanted.keys()]
    faults += [
        f"{name!r} has shape {list(tensors[name].shape)}, wanted {list(wanted[name].shape)}"
        for name in wanted.keys() & tensors.keys()
        if tensors[name].shape != wanted[name].shape
    ]
    if faults:
        raise InvalidError(f"the weights of {source} do not fit: {'; '.join(sorted(faults)[:10])}", field="weights")
    model.load_state_dict(tensors)
