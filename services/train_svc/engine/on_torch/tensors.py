"""A torch model's tensors by their canonical names, and safetensors files of such tensors."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from services.common.errors import InvalidError
from services.train_svc.engine.fitting import check_fit

METADATA = {"format": "pt"}


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return the model's parameters and buffers by name, detached and contiguous."""
    return {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}


def write_tensors(tensors: dict[str, torch.Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors to `path`, with words about them, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(save(tensors, {**METADATA, **(metadata or {})}))
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


def read_metadata(path: Path) -> dict[str, str]:
    """Return the words that were written with the tensors of a file."""
    with safe_open(path, "numpy") as file:
        return dict(file.metadata() or {})


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the canonical shapes of the model's tensors by name."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def fill(model: nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Copy `tensors` into the model, all of them or none.

    Raises:
        InvalidError: a tensor is missing, unknown, or has another shape; each is named.
    """
    check_fit(shapes(model), {name: tuple(tensor.shape) for name, tensor in tensors.items()}, source)
    model.load_state_dict(dict(tensors))
