"""Raw tensors, taken as they are."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.common.preprocess.registry import step

_TYPES = {"FP32": "<f4", "FP16": "<f2", "FP64": "<f8", "UINT8": "u1", "INT8": "i1", "INT32": "<i4", "INT64": "<i8"}


@step("none")
@dataclass(frozen=True, kw_only=True)
class Raw:
    """Little-endian, row-major bytes (or an array) to an array of `shape`."""

    shape: tuple[int, ...] = ()
    """Of one sample; empty: arrays keep theirs, bytes are flat."""
    datatype: Literal["FP32", "FP16", "FP64", "UINT8", "INT8", "INT32", "INT64"] = "FP32"
    """Type of the bytes."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        if any(size < 1 for size in self.shape):
            raise InvalidError(f"shape {list(self.shape)} must hold positive sizes")

    def __call__(self, value: Any) -> NDArray[Any]:  # noqa: ANN401 - the registry's signature
        """Return the array. Raises InvalidError for another number of values."""
        dtype = np.dtype(_TYPES[self.datatype])
        if not isinstance(value, np.ndarray):
            if len(value) % dtype.itemsize:
                raise InvalidError(f"{len(value)} bytes are no whole number of {self.datatype} values")
            value = np.frombuffer(value, dtype)
        if self.shape and value.size != math.prod(self.shape):
            raise InvalidError(f"{value.size} values do not make shape {list(self.shape)}")
        array: NDArray[Any] = value.reshape(self.shape) if self.shape else value
        return array
