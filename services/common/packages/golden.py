"""Recorded inputs and outputs of a model, replayed before it serves."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.common.packages.signature import Signature
from services.common.packages.tensor_bytes import from_raw, to_raw

_SHAPE = "shape:"


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One recorded call: arrays by tensor name, first dimension the batch."""

    inputs: dict[str, NDArray[Any]]
    """What was given."""
    outputs: dict[str, NDArray[Any]]
    """What came out."""

    def save(self, path: Path) -> None:
        """Write the npz: `input:NAME`, `output:NAME`; BYTES as raw bytes beside `shape:input:NAME`."""
        arrays: dict[str, NDArray[Any]] = {}
        for side, named in (("input", self.inputs), ("output", self.outputs)):
            for name, array in named.items():
                arrays |= _stored(f"{side}:{name}", array)
        # Through memory: numpy would add ".npz" to a path with another suffix.
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        path.write_bytes(buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Golden":
        """Read the npz without pickle, or raise InvalidError."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InvalidError(f"{path.name} is no npz of plain arrays: {error}", field=path.name) from error
        sides: dict[str, dict[str, NDArray[Any]]] = {"input": {}, "output": {}}
        for key in arrays:
            side, _, name = key.partition(":")
            if side in sides and name:
                sides[side][name] = _restored(key, arrays)
            elif not key.startswith(_SHAPE):
                raise InvalidError(
                    f"{path.name} holds {key!r}; names are 'input:NAME' and 'output:NAME'", field=path.name
                )
        return cls(inputs=sides["input"], outputs=sides["output"])

    def check(self, signature: Signature) -> None:
        """Refuse arrays that are not the signature's."""
        signature.check_inputs(self.inputs)
        signature.check_outputs(self.outputs)

    def differences(self, outputs: dict[str, NDArray[Any]], signature: Signature) -> list[str]:
        """Return what in replayed `outputs` is out of tolerance, one line a tensor; empty if all agree."""
        found = []
        for name, wanted in self.outputs.items():
            if name not in outputs or outputs[name].shape != wanted.shape:
                found.append(f"output {name!r} is missing or has another shape than the recorded {list(wanted.shape)}")
            elif wanted.dtype.kind in "OSU":
                found += [] if np.array_equal(outputs[name], wanted) else [f"output {name!r} differs"]
            else:
                found += _differing(name, outputs[name], wanted, signature)
        return found


def _differing(name: str, got: NDArray[Any], wanted: NDArray[Any], signature: Signature) -> list[str]:
    tolerance = signature.golden
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    if np.allclose(a, b, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True):
        return []
    worst = float(np.nanmax(np.abs(a - b)))
    return [f"output {name!r} differs by up to {worst:.3g} (rtol {tolerance.rtol:g}, atol {tolerance.atol:g})"]


def _stored(key: str, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    if array.dtype.kind not in "OSU":
        return {key: array}
    raw = np.frombuffer(to_raw(array, "BYTES"), np.uint8)
    return {key: raw, _SHAPE + key: np.array(array.shape, np.int64)}


def _restored(key: str, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
    shape = arrays.get(_SHAPE + key)
    return arrays[key] if shape is None else from_raw(arrays[key].tobytes(), "BYTES", [int(size) for size in shape])
