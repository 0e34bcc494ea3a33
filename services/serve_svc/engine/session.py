"""ONNX Runtime sessions on CPU."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from services.common.errors import InvalidError, ModelwrightError
from services.serve_svc.engine.datatypes import DATATYPES
from services.serve_svc.engine.elements import Array
from services.serve_svc.engine.signature import Signature, graph_specs

ONLY_ERRORS = 3
BF16 = DATATYPES["BF16"]


class Session:
    """A graph ready to run, from several threads if need be.

    Args:
        path: the ONNX file.
        threads: threads of one run.

    Raises:
        InvalidError: the file is no ONNX graph that this runtime can run.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        self.threads = threads
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ONLY_ERRORS
        # Spinning threads take the cores that the serving loop and other models need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a class of its own for each failure
            raise InvalidError(
                f"ONNX Runtime {ort.__version__} cannot load {path.name}: {error}; export the model again, or for "
                "an operator it does not know with an older opset",
                field=path.name,
            ) from error
        self.graph = Signature(
            inputs=graph_specs(self._session.get_inputs(), path.name),
            outputs=graph_specs(self._session.get_outputs(), path.name),
        )
        self.outputs = [spec.name for spec in self.graph.outputs]
        """What `run` returns, in this order, unless it is told otherwise."""
        self._texts = [spec.name for spec in self.graph.inputs if spec.kind.name == "BYTES"]
        specs = (*self.graph.inputs, *self.graph.outputs)
        self._needs_values = any(spec.kind is BF16 for spec in specs)
        if self._needs_values and any(spec.kind.name == "BYTES" for spec in specs):
            raise InvalidError(
                f"{path.name} has both BF16 and string tensors, which ONNX Runtime's Python API cannot pass together; "
                "cast the BF16 tensors to FP32 in the graph",
                field=path.name,
            )

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> list[Array]:
        """Return the named outputs, or `self.outputs`.

        Raises:
            InvalidError: the graph refuses the inputs.
            ModelwrightError: it fails on them.
        """
        names = list(outputs or self.outputs)
        if self._texts:
            feeds = {**feeds, **{name: _texts(feeds[name], name) for name in self._texts}}
        try:
            if self._needs_values:
                return self._run_values(feeds, names)
            found: list[Array] = self._session.run(names, feeds)
            return found
        except InvalidArgument as error:
            raise InvalidError(f"the model refuses these inputs: {error}", field="inputs") from error
        except ModelwrightError:
            raise
        except Exception as error:  # as above
            raise ModelwrightError(f"the model failed on these inputs: {error}") from error

    def _run_values(self, feeds: Mapping[str, Array], names: list[str]) -> list[Array]:
        """Run with typed values, since NumPy knows no BF16."""
        values = {name: self._value(name, np.ascontiguousarray(array)) for name, array in feeds.items()}
        found = self._session.run_with_ort_values(names, values)
        return [_array(v, bf16=self.graph.output(n).kind is BF16) for n, v in zip(names, found, strict=True)]

    def _value(self, name: str, array: Array) -> ort.OrtValue:
        if self.graph.input(name).kind is BF16:
            return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, BF16.onnx)
        return ort.OrtValue.ortvalue_from_numpy(array)


def _array(value: ort.OrtValue, *, bf16: bool) -> Array:
    array: Array = np.array(_Bits(value)) if bf16 else value.numpy()
    return array


class _Bits:
    """A BF16 value seen as 16-bit integers through NumPy's array interface."""

    def __init__(self, value: ort.OrtValue) -> None:
        self.value = value
        self.__array_interface__ = {
            "shape": tuple(value.shape()),
            "typestr": "<u2",
            "data": (value.data_ptr(), True),
            "version": 3,
        }


def _texts(array: Array, name: str) -> Array:
    """Return the byte strings as text, which is what ONNX's string tensors hold."""
    try:
        texts = np.empty(array.size, np.object_)
        texts[:] = [e.decode() if isinstance(e, bytes) else str(e) for e in array.ravel()]
        return texts.reshape(array.shape)
    except UnicodeDecodeError as error:
        raise InvalidError(f"input {name!r} takes UTF-8 text: {error}", field=f"inputs.{name}") from error
