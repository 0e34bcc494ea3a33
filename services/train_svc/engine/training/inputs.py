"""Arrays checked against the inputs of a description."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.architecture import Description, Input
from services.train_svc.engine.feeding import bind
from services.train_svc.engine.reading import fault

KINDS = {"float32": "f", "int64": "i", "bool": "b"}
"""Kinds of NumPy's types that an input takes."""
PICTURE_AXES = 4


def check_inputs(description: Description, inputs: Mapping[str, npt.NDArray[Any]]) -> None:
    """Check arrays against the inputs of a description.

    Args:
        description: of the model.
        inputs: [batch, ...] by name.

    Raises:
        InvalidError: a name is unknown or missing, or an array has another shape or type, or tokens that are not there.
    """
    sizes: dict[str, tuple[int, str]] = {}
    tokens = vocabularies(description)
    for name, array in bind(description, (), inputs).items():
        wanted = description.inputs[name]
        _check_type(name, array, wanted)
        if name in tokens:
            _check_tokens(name, array, tokens[name])
        if array.ndim != len(wanted.shape) + 1 or any(
            size != given for size, given in zip(wanted.shape, array.shape[1:], strict=True) if isinstance(size, int)
        ):
            raise fault(f"inputs.{name}", f"got {_axes(array.shape)}, wanted {_axes(('batch', *wanted.shape))}")
        for size, given in zip(wanted.shape, array.shape[1:], strict=True):
            if isinstance(size, str) and sizes.setdefault(size, (given, name))[0] != given:
                raise fault(f"inputs.{name}", f"has {given} for {size!r}, and {sizes[size][1]} has {sizes[size][0]}")


def _check_type(name: str, array: npt.NDArray[Any], wanted: Input) -> None:
    is_picture = array.dtype == np.uint8 and array.ndim == PICTURE_AXES
    if array.dtype.kind != KINDS[wanted.dtype] and not (wanted.dtype == "float32" and is_picture):
        raise fault(f"inputs.{name}", f"got {array.dtype} {_axes(array.shape)}, wanted {wanted.dtype}")


def _check_tokens(name: str, array: npt.NDArray[Any], below: int) -> None:
    outside = (array < 0) | (array >= below)
    if outside.any():
        place = np.argwhere(outside)[0].tolist()
        raise fault(f"inputs.{name}", f"got {array[tuple(place)]} at {place}, wanted 0 to {below - 1}")


def vocabularies(description: Description) -> dict[str, int]:
    """Return how many tokens there are, by the names of the inputs that take tokens."""
    # Columns of a table have each a bound of its own.
    words = {name: given for name, given in description.inputs.items() if all(isinstance(x, str) for x in given.shape)}
    return {name: given.below for name, given in words.items() if given.below}


def _axes(sizes: Iterable[object]) -> str:
    return f"[{', '.join(map(str, sizes))}]"
