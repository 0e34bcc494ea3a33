"""ONNX graphs: read, tidied before quantisation, and run on the CPU."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import shape_inference

from services.common.errors import InvalidError

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]
"""Input name to array, batch first."""

PROTOBUF_LIMIT_BYTES = 2**31 - 2**20
LEAST_OPSET = 13
"""QuantizeLinear has an axis, which per-channel weights need, since this one."""


class Session:
    """A graph on the CPU. Threads do not spin while they wait, so two sessions can be timed in turns."""

    def __init__(self, model: bytes, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ORT raises several unrelated classes.
            raise InvalidError(f"ONNX Runtime cannot load the model: {error}") from error
        self.inputs: tuple[str, ...] = tuple(item.name for item in self._session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(item.name for item in self._session.get_outputs())
        self.batch: int | None = _fixed_batch(self._session.get_inputs()[0].shape) if self.inputs else None
        """The batch size that the graph insists on; None: any."""

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Return every output by name.

        Raises:
            InvalidError: the feeds do not fit the graph.
        """
        try:
            return dict(zip(self.outputs, self._session.run(None, dict(feeds)), strict=True))
        except Exception as error:  # ORT raises several unrelated classes.
            shapes = {name: f"{value.dtype}{list(value.shape)}" for name, value in feeds.items()}
            raise InvalidError(f"ONNX Runtime cannot run the model on {shapes}: {error}") from error


def _fixed_batch(shape: list[int | str | None]) -> int | None:
    return shape[0] if shape and isinstance(shape[0], int) else None


def load(model: bytes) -> onnx.ModelProto:
    """Return the parsed and checked graph.

    Raises:
        InvalidError: the bytes are no ONNX model, its opset is too old, or its weights lie in other files.
    """
    if len(model) > PROTOBUF_LIMIT_BYTES:
        raise InvalidError(f"the model has {len(model)} bytes; an ONNX file without external data holds at most 2 GiB")
    try:
        proto = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf raises its own class.
        raise InvalidError(f"model.onnx is not an ONNX model: {error}") from error
    opset = next((item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")), 0)
    if 0 < opset < LEAST_OPSET:
        raise InvalidError(f"model.onnx uses opset {opset}; export it with opset {LEAST_OPSET} or later")
    try:
        onnx.checker.check_model(proto)
    except Exception as error:  # The checker raises unrelated classes.
        raise InvalidError(f"model.onnx is not a valid ONNX model: {error}") from error
    return proto


def tidy(model: bytes) -> onnx.ModelProto:
    """Return the graph with constants folded and batch norm merged into convolutions, every shape inferred.

    Without the merge each batch norm would stay in float32 between two quantised layers. Only the runtime's basic
    rewrites are applied: they yield standard operators that run on any machine.
    """
    load(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tidy.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return shape_inference.infer_shapes(onnx.load_model(path))


def lean(proto: onnx.ModelProto) -> bytes:
    """Return the file without what no runtime reads: notes of the exporter (with its stack traces) and shapes that
    are inferred again on loading."""
    graph = proto.graph
    noted: list[Any] = [*graph.node, *graph.input, *graph.output, *graph.initializer]
    for item in noted:
        item.doc_string = ""
        del item.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]
    return bytes(proto.SerializeToString())


def float_activations(proto: onnx.ModelProto, op_types: tuple[str, ...]) -> tuple[str, ...]:
    """Return the float32 tensors, weights apart, that nodes of these operators read or write, in graph order."""
    weights = {item.name for item in proto.graph.initializer}
    infos = (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)
    floats = {item.name for item in infos if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    names = dict.fromkeys(
        name for node in proto.graph.node if node.op_type in op_types for name in (*node.input, *node.output)
    )
    return tuple(name for name in names if name in floats and name not in weights)
