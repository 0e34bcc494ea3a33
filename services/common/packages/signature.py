"""What a model takes and gives."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError, Violation
from services.common.packages.datatypes import numpy_dtype

DYNAMIC = -1
"""A dimension of any size, such as the batch."""


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A named tensor."""

    name: str
    """As in the ONNX graph."""
    datatype: str
    """Open Inference Protocol type, such as FP32."""
    shape: tuple[int, ...]
    """Sizes; -1 is any."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        numpy_dtype(self.datatype)
        if not self.name:
            raise InvalidError("a tensor has no name", field="name")
        if any(size < DYNAMIC for size in self.shape):
            raise InvalidError(f"tensor {self.name!r} has shape {list(self.shape)}; sizes are -1 (any) or more")

    @property
    def dtype(self) -> np.dtype:
        """The numpy dtype that holds it."""
        return numpy_dtype(self.datatype)

    def fault(self, array: NDArray[Any]) -> str:
        """Return what is wrong with `array` as this tensor, or nothing."""
        if array.dtype != self.dtype and not (self.datatype == "BYTES" and array.dtype.kind in "OSU"):
            return f"is {array.dtype}, not {self.datatype} ({self.dtype})"
        wanted = list(self.shape)
        fits = len(array.shape) == len(wanted) and all(
            want in (DYNAMIC, got) for want, got in zip(wanted, array.shape, strict=True)
        )
        return "" if fits else f"has shape {list(array.shape)}, not {wanted}"


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How close replayed golden outputs must be: |got - want| <= atol + rtol * |want|."""

    rtol: float = 1e-3
    """Share of the wanted value."""
    atol: float = 1e-4
    """In the output's own unit."""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A model's tensors, in the order of its graph."""

    inputs: tuple[TensorSpec, ...]
    """At least one."""
    outputs: tuple[TensorSpec, ...]
    """At least one."""
    golden: Tolerance = Tolerance()
    """For the replay before the model serves."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        for field, specs in (("inputs", self.inputs), ("outputs", self.outputs)):
            names = [spec.name for spec in specs]
            if not names or len(set(names)) != len(names):
                raise InvalidError(
                    f"{field} must be one or more tensors with different names, got {names}", field=field
                )

    def check_inputs(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Refuse arrays that are not the inputs, all faults together."""
        self._check("inputs", self.inputs, arrays)

    def check_outputs(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Refuse arrays that are not the outputs."""
        self._check("outputs", self.outputs, arrays)

    def _check(self, field: str, specs: tuple[TensorSpec, ...], arrays: dict[str, NDArray[Any]]) -> None:
        known = {spec.name for spec in specs}
        faults = {name: f"is none of the {field} {sorted(known)}" for name in arrays if name not in known}
        for spec in specs:
            fault = spec.fault(arrays[spec.name]) if spec.name in arrays else "is missing"
            if fault:
                faults[spec.name] = fault
        if faults:
            found = [Violation(field=f"{field}.{name}", message=f"{name!r} {fault}") for name, fault in faults.items()]
            raise InvalidError("; ".join(f"tensor {violation.message}" for violation in found), violations=found)
