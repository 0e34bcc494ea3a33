"""Tensor types of the Open Inference Protocol and their numpy dtypes."""

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.common.names import nearest

DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(np.uint16),
    "BYTES": np.dtype(np.object_),
}
"""BF16, which numpy lacks, is kept as its bits in UINT16; BYTES as an array of `bytes` objects."""

_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}


def numpy_dtype(datatype: str) -> np.dtype:
    """Return the dtype that holds `datatype`, or say which one was meant."""
    if datatype not in DTYPES:
        raise InvalidError(
            f"datatype {datatype!r} is not one of {', '.join(DTYPES)}{nearest(datatype.upper(), DTYPES)}",
            field="datatype",
        )
    return DTYPES[datatype]


def datatype_of(dtype: np.dtype) -> str:
    """Return the protocol's name of a numpy dtype; text and bytes of any length are BYTES."""
    if dtype.kind in "SU":
        return "BYTES"
    if dtype.newbyteorder("=") not in _NAMES:
        raise InvalidError(f"numpy dtype {dtype} has no tensor type; convert it to one of {', '.join(_NAMES.values())}")
    return _NAMES[dtype.newbyteorder("=")]


def to_bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the bfloat16 bits of FP32 values, rounded to the nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    kept_nan = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(values), kept_nan, rounded).astype(np.uint16)


def from_bf16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the FP32 values of bfloat16 bits, exactly."""
    return (np.asarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
