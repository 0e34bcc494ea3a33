"""The raw form of tensors: little-endian, row-major; BYTES elements behind a 4-byte length.

Source: Open Inference Protocol V2, `raw_input_contents`, and Triton's binary tensor extension.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.common.packages.datatypes import numpy_dtype

_LENGTH = struct.Struct("<I")


def to_raw(array: NDArray[Any], datatype: str) -> bytes:
    """Return the array's elements as raw bytes."""
    if datatype == "BYTES":
        return b"".join(_LENGTH.pack(len(item)) + item for item in map(_as_bytes, array.ravel()))
    dtype = numpy_dtype(datatype)
    return np.ascontiguousarray(array, dtype.newbyteorder("<")).tobytes()


def from_raw(data: bytes | memoryview, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    """Return the array of that shape; a view of `data` (read-only) unless the type is BYTES.

    Raises:
        InvalidError: there are more or fewer bytes than the shape needs.
    """
    if datatype == "BYTES":
        return _bytes_array(bytes(data), shape)
    dtype = numpy_dtype(datatype).newbyteorder("<")
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise InvalidError(f"a {datatype} tensor of shape {list(shape)} has {wanted} bytes, {len(data)} were given")
    return np.frombuffer(data, dtype).reshape(shape)


def _bytes_array(data: bytes, shape: Sequence[int]) -> NDArray[Any]:
    items: list[bytes] = []
    position = 0
    while position + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        items.append(data[position : position + length])
        position += length
    if position != len(data) or len(items) != math.prod(shape):
        raise InvalidError(
            f"a BYTES tensor of shape {list(shape)} has {math.prod(shape)} elements, each a length and bytes"
        )
    array = np.empty(len(items), np.object_)
    array[:] = items
    return array.reshape(shape)


def _as_bytes(item: Any) -> bytes:  # noqa: ANN401 - an element of an object array
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, bytes):
        return item
    raise InvalidError(f"a BYTES element is {type(item).__name__}, not bytes or text")
