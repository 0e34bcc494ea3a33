"""A TensorFlow model's tensors by their canonical names and in the canonical layout, which is torch's."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from services.common.errors import InvalidError
from services.train_svc.engine.architecture.node import Param
from services.train_svc.engine.fitting import check_fit
from services.train_svc.engine.on_tensorflow.block import LAYOUTS, TensorflowBlock
from services.train_svc.engine.on_tensorflow.model import Model

Array = npt.NDArray[Any]
METADATA = {"format": "pt"}
NUMBER = re.compile(r"_\d+$")


def named_variables(model: Any) -> dict[str, tuple[Any, Param]]:  # noqa: ANN401 - ours, or a user's Keras model
    """Return the model's variables by canonical name, each with what it was made from, in torch's order.

    Those of a user's own Keras model go by their paths, with dots, and numbers that count within the model.
    """
    if not isinstance(model, Model):
        return {
            name: (each, _param(each)) for name, each in zip(_numbered(model.variables), model.variables, strict=True)
        }
    return {name: pair for layer in model.inner.values() for name, pair in _variables(layer)}


def _variables(layer: TensorflowBlock) -> Iterator[tuple[str, tuple[Any, Param]]]:
    for name, variable in layer.own.items():
        yield f"{layer.node.name}.{name}", (variable, layer.node.parameters[name])
    for child in layer.inner.values():
        yield from _variables(child)


def _numbered(variables: Sequence[Any]) -> list[str]:
    # Keras counts its layers through a process, so that the same model made twice has other names.
    seen: dict[tuple[str, str], dict[str, str]] = {}
    names = []
    for number, variable in enumerate(variables):
        name = ""
        for part in variable.path.split("/"):
            base = NUMBER.sub("", part)
            known = seen.setdefault((name, base), {})
            known.setdefault(part, f"{base}_{len(known)}" if known else base)
            name = f"{name}.{known[part]}" if name else known[part]
        names.append(name if name not in names else f"{name}.{number}")
    return names


def _param(variable: Any) -> Param:  # noqa: ANN401 - Keras has no types
    return Param(shape=tuple(variable.shape), trainable=bool(variable.trainable), dtype=str(variable.dtype))


def to_canonical(array: Array, param: Param) -> Array:
    """Return an array of this engine's layout in the canonical one."""
    axes = LAYOUTS.get(param.layout)
    return np.ascontiguousarray(array.transpose(np.argsort(axes))) if axes else array


def from_canonical(array: Array, param: Param) -> Array:
    """Return an array of the canonical layout in this engine's."""
    axes = LAYOUTS.get(param.layout)
    return array.transpose(axes) if axes else array


def named_tensors(model: Model) -> dict[str, Array]:
    """Return the model's variables by name, in the canonical layout."""
    return {
        name: to_canonical(np.asarray(variable), param) for name, (variable, param) in named_variables(model).items()
    }


def write_tensors(tensors: Mapping[str, Array], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors to `path`, with words about them, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(save(dict(tensors), {**METADATA, **(metadata or {})}))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_tensors(path: Path) -> dict[str, Array]:
    """Return the named tensors of a file.

    Raises:
        InvalidError: it is missing, truncated or no safetensors.
    """
    try:
        return dict(load_file(path))
    except (SafetensorError, FileNotFoundError) as error:
        raise InvalidError(f"{path} holds no readable tensors: {error}", field="weights") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the words that were written with the tensors of a file."""
    with safe_open(path, "numpy") as file:
        return dict(file.metadata() or {})


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Return the canonical shapes of the model's tensors by name."""
    return {name: param.shape for name, (_, param) in named_variables(model).items()}


def fill(model: Model, tensors: Mapping[str, Array], source: str) -> None:
    """Assign `tensors` to the model's variables, all of them or none.

    Raises:
        InvalidError: a tensor is missing, unknown, or has another shape; each is named.
    """
    check_fit(shapes(model), {name: tuple(tensor.shape) for name, tensor in tensors.items()}, source)
    for name, (variable, param) in named_variables(model).items():
        variable.assign(from_canonical(np.asarray(tensors[name]), param))
