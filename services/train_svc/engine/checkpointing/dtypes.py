"""Number formats in checkpoints. NumPy has no bfloat16 and no float8: such bits go under their format's name."""

from typing import Any

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.reading import fault

Array = npt.NDArray[Any]

NUMBERS = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "F16": "float16", "U32": "uint32",
    "I32": "int32", "F32": "float32", "U64": "uint64", "I64": "int64", "F64": "float64", "C64": "complex64",
}  # fmt: skip
"""The code of a safetensors file, and NumPy's name."""

BITS = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"}
"""The code of a safetensors file, and the name that torch and ml_dtypes give the format."""


def bits_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype of raw bits that carries their format's name through every view and copy.

    Args:
        name: such as `bfloat16`.
    """
    return np.dtype([(name, "<u2" if name == "bfloat16" else "u1")])


def name_bits(bits: Array, name: str) -> Array:
    """Return unsigned integers as the bits of a format, over the same memory.

    For a torch tensor: `name_bits(tensor.view(torch.uint16).numpy(), "bfloat16")`.
    """
    return bits.view(bits_dtype(name))


def bits_of(array: Array) -> Array:
    """Return named bits as unsigned integers over the same memory.

    Back to torch: `torch.from_numpy(bits_of(array)).view(torch.bfloat16)`.
    """
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))


def format_of(array: Array) -> str:
    """Return the name of an array's number format, such as `float32` or `bfloat16`."""
    return array.dtype.names[0] if array.dtype.names else array.dtype.name


def code_of(array: Array, tensor: str) -> str:
    """Return the code that a safetensors file has for an array's format.

    Args:
        array: numbers, named bits, or numbers of ml_dtypes.
        tensor: its name, for the message.

    Raises:
        InvalidError: there is none.
    """
    name = format_of(array)
    for code, known in {**NUMBERS, **BITS}.items():
        if name == known and array.dtype.byteorder != ">":
            return code
    message = f"{tensor!r} has format {array.dtype}, which no checkpoint can hold; wanted one of " + ", ".join(
        [*NUMBERS.values(), *BITS.values()]
    )
    raise fault("checkpoint", message)


def dtype_of(code: str) -> np.dtype[Any]:
    """Return the dtype of a safetensors code.

    Raises:
        KeyError: it is unknown.
    """
    return np.dtype(NUMBERS[code]) if code in NUMBERS else bits_dtype(BITS[code])
