"""The data types of the Open Inference Protocol and what carries them here.

BF16 has no NumPy type: its elements travel as the 16 bits of a `uint16`. BYTES
elements are `bytes` objects in an array of objects.
"""

from dataclasses import dataclass

import numpy as np

from services.common.errors import InvalidError
from services.common.names import nearest


@dataclass(frozen=True, kw_only=True)
class Datatype:
    """One type of tensor element."""

    name: str
    """Its name in the protocol."""
    dtype: np.dtype
    """What carries it in memory, little-endian."""
    size: int
    """Bytes of an element; 0 where they vary."""
    ort: str
    """What ONNX Runtime calls a tensor of it."""
    onnx: int
    """Its number in ONNX's `TensorProto.DataType`."""
    contents: str
    """The field of `InferTensorContents` that holds it; empty: it travels raw alone."""


def _fixed(name: str, dtype: str, ort: str, onnx: int, contents: str) -> Datatype:
    kind = np.dtype(dtype)
    return Datatype(name=name, dtype=kind, size=kind.itemsize, ort=f"tensor({ort})", onnx=onnx, contents=contents)


DATATYPES = {
    kind.name: kind
    for kind in (
        _fixed("BOOL", "?", "bool", 9, "bool_contents"),
        _fixed("UINT8", "<u1", "uint8", 2, "uint_contents"),
        _fixed("UINT16", "<u2", "uint16", 4, "uint_contents"),
        _fixed("UINT32", "<u4", "uint32", 12, "uint_contents"),
        _fixed("UINT64", "<u8", "uint64", 13, "uint64_contents"),
        _fixed("INT8", "<i1", "int8", 3, "int_contents"),
        _fixed("INT16", "<i2", "int16", 5, "int_contents"),
        _fixed("INT32", "<i4", "int32", 6, "int_contents"),
        _fixed("INT64", "<i8", "int64", 7, "int64_contents"),
        _fixed("FP16", "<f2", "float16", 10, ""),
        _fixed("FP32", "<f4", "float", 1, "fp32_contents"),
        _fixed("FP64", "<f8", "double", 11, "fp64_contents"),
        _fixed("BF16", "<u2", "bfloat16", 16, ""),
        Datatype(name="BYTES", dtype=np.dtype("O"), size=0, ort="tensor(string)", onnx=8, contents="bytes_contents"),
    )
}
BY_ORT = {kind.ort: kind for kind in DATATYPES.values()}


def datatype(name: object, where: str) -> Datatype:
    """Return the type called `name`; `where` is named in the error."""
    found = DATATYPES.get(name) if isinstance(name, str) else None
    if found is None:
        raise InvalidError(
            f"{where}: {name!r} is not a datatype{nearest(str(name), DATATYPES)}; use one of {', '.join(DATATYPES)}",
            field=where,
        )
    return found
