"""Tensors from and to the forms they travel in: raw bytes and JSON."""

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from services.common.errors import InvalidError
from services.serve_svc.engine.datatypes import Datatype

Array = np.ndarray[Any, Any]
LENGTH_BYTES = 4


MOST_ELEMENTS = 1 << 48
MOST_DIMENSIONS = 32


def count(shape: Sequence[int]) -> int:
    """Return how many elements a tensor of `shape` has."""
    return math.prod(shape)


def check_shape(shape: object, where: str) -> list[int]:
    """Return a shape that came from outside, or say what one looks like."""
    if (
        not isinstance(shape, list)
        or len(shape) > MOST_DIMENSIONS
        or not all(type(size) is int and size >= 0 for size in shape)
        or math.prod(size or 1 for size in shape) > MOST_ELEMENTS
    ):
        raise InvalidError(f"{where}: {str(shape)[:80]} is not a shape; give a list such as [1, 64]", field=where)
    return shape


def from_raw(data: bytes | memoryview, kind: Datatype, shape: Sequence[int], where: str) -> Array:
    """Return the tensor whose little-endian, row-major bytes are `data`; shares memory where it can.

    Raises:
        InvalidError: the byte length does not fit `shape` and the type.
    """
    if kind.size == 0:
        return _bytes_from_raw(data, shape, where)
    wanted = count(shape) * kind.size
    if len(data) != wanted:
        raise InvalidError(
            f"{where}: {len(data)} bytes came, but {kind.name} of shape {list(shape)} takes {wanted}", field=where
        )
    array = np.frombuffer(data, kind.dtype).reshape(shape)
    # A tensor inside a larger body may begin at any byte; kernels expect whole words.
    return array if array.flags.aligned else array.copy()


def _bytes_from_raw(data: bytes | memoryview, shape: Sequence[int], where: str) -> Array:
    elements: list[bytes] = []
    view, at, end = memoryview(data), 0, len(data)
    while at < end:
        stop = at + LENGTH_BYTES
        size = int.from_bytes(view[at:stop], "little")
        if stop > end or stop + size > end:
            raise InvalidError(
                f"{where}: element {len(elements)} of the BYTES tensor is cut off at byte {end} of its data; "
                "each element is a 4-byte little-endian length and that many bytes",
                field=where,
            )
        elements.append(bytes(view[stop : stop + size]))
        at = stop + size
    return _objects(elements, shape, where)


def _objects(elements: list[bytes], shape: Sequence[int], where: str) -> Array:
    if len(elements) != count(shape):
        raise InvalidError(
            f"{where}: {len(elements)} elements came, but shape {list(shape)} takes {count(shape)}", field=where
        )
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    return array.reshape(shape)


def to_raw(array: Array, kind: Datatype) -> bytes:
    """Return the tensor's bytes as they travel."""
    if kind.size:
        return np.ascontiguousarray(array, kind.dtype).tobytes()
    parts: list[bytes] = []
    for element in array.ravel():
        data = element if isinstance(element, bytes) else str(element).encode()
        parts += (len(data).to_bytes(LENGTH_BYTES, "little"), data)
    return b"".join(parts)


def from_list(data: object, kind: Datatype, shape: Sequence[int], where: str) -> Array:
    """Return the tensor of a JSON list, flat or nested.

    Raises:
        InvalidError: wrong number of elements, or one that the type cannot hold.
    """
    if not isinstance(data, list):
        raise InvalidError(f"{where}: `data` must be a list, not {type(data).__name__}", field=where)
    if kind.size == 0:
        return _objects([_utf8(element, where) for element in _flat(data)], shape, where)
    try:
        array = np.asarray(data)
    except (ValueError, OverflowError):
        raise InvalidError(f"{where}: the rows of `data` differ in length or hold no numbers", field=where) from None
    if array.size != count(shape):
        raise InvalidError(
            f"{where}: {array.size} elements came, but shape {list(shape)} takes {count(shape)}", field=where
        )
    if array.dtype.kind in "fO" and kind.dtype.kind in "iu" and kind.name != "BF16":
        # NumPy makes floats of integers beyond its signed 64 bits.
        whole = _whole_numbers(_flat(data), kind, where)
        array = array if whole is None else whole
    return _cast(array, kind, where).reshape(shape)


def _whole_numbers(flat: list[Any], kind: Datatype, where: str) -> Array | None:
    if not flat or not all(type(element) is int for element in flat):
        return None
    limits = np.iinfo(kind.dtype)
    if min(flat) < limits.min or max(flat) > limits.max:
        _refuse_range(kind, min(flat), max(flat), where)
    return np.array(flat, kind.dtype)


def _refuse_range(kind: Datatype, least: int, most: int, where: str) -> NoReturn:
    limits = np.iinfo(kind.dtype)
    raise InvalidError(
        f"{where}: {kind.name} holds {limits.min} to {limits.max}, but `data` goes from {least} to {most}", field=where
    )


def _cast(array: Array, kind: Datatype, where: str) -> Array:
    """Return the numbers in the wanted type; JSON knows only booleans, integers and floats."""
    got = array.dtype.kind if array.size else "f"
    target = "f" if kind.name == "BF16" else kind.dtype.kind
    allowed = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[target]
    if got not in allowed and array.size:
        names = {"b": "booleans", "i": "integers", "u": "integers", "f": "fractions", "U": "strings"}
        raise InvalidError(f"{where}: `data` holds {names.get(got, 'mixed values')}, not {kind.name}", field=where)
    if target in "iu" and array.size:
        limits = np.iinfo(kind.dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            _refuse_range(kind, int(array.min()), int(array.max()), where)
    return to_bf16(array) if kind.name == "BF16" else array.astype(kind.dtype)


def to_list(array: Array, kind: Datatype, where: str) -> Any:  # noqa: ANN401 - a list or what orjson reads as one
    """Return the elements, flat, in a form that orjson writes as a list.

    Raises:
        InvalidError: BYTES that are no text; they travel as binary data alone.
    """
    if kind.name == "BF16":
        return from_bf16(array).ravel()
    if kind.size:
        flat = np.ascontiguousarray(array, kind.dtype).ravel()
        return flat
    try:
        return [e.decode() if isinstance(e, bytes) else str(e) for e in array.ravel()]
    except UnicodeDecodeError:
        raise InvalidError(
            f"{where}: holds bytes that are no UTF-8 text, which JSON cannot carry; ask for it with "
            "`binary_data: true`",
            field=where,
        ) from None


def to_bf16(array: Array) -> Array:
    """Return the upper 16 bits of each float, rounded to nearest even; NaN stays NaN."""
    wide = np.ascontiguousarray(array, np.float32)
    bits = wide.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(wide), np.uint32(0x7FC0), rounded).astype(np.uint16)


def from_bf16(array: Array) -> Array:
    """Return the floats whose upper 16 bits are given."""
    return (array.astype(np.uint32) << 16).view(np.float32)


def _flat(data: list[Any]) -> list[Any]:
    flat: list[Any] = []
    stack = [iter(data)]
    while stack:
        for item in stack[-1]:
            if isinstance(item, list):
                stack.append(iter(item))
                break
            flat.append(item)
        else:
            stack.pop()
    return flat


def _utf8(element: object, where: str) -> bytes:
    if not isinstance(element, str):
        raise InvalidError(f"{where}: BYTES elements are strings in JSON, not {type(element).__name__}", field=where)
    return element.encode()
