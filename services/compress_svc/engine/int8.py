"""Static INT8 in the QDQ form: u8 asymmetric activations, s8 weights per channel, biases in 32 bits.

The graph is rewritten by onnxruntime's quantiser; the ranges are ours (`engine.calibration`). u8 x s8 is the pair that
x86 has instructions for; u8 x u8 is slower there.
"""

import numpy as np
import onnx
from onnxruntime.quantization import QDQQuantizer
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData

from services.common.errors import InvalidError
from services.common.names import nearest
from services.compress_svc.engine.calibration import Batches, observe
from services.compress_svc.engine.graph import float_activations, lean, load, tidy
from services.compress_svc.engine.progress import Watch
from services.compress_svc.engine.recipe import VariantRecipe
from services.compress_svc.engine.thresholds import Range

COMPUTING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Where the arithmetic is; a model with none of them gains nothing."""
CARRYING = (
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Relu", "Reshape", "Squeeze",
    "Transpose", "Unsqueeze",
)  # fmt: skip
"""Cheap in 8 bits, and they would break a chain of quantised layers; softmax, norms and the like stay in float32."""


def prepare(model: bytes) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return the tidied graph and the tensors whose ranges are needed.

    Raises:
        InvalidError: the graph is no valid model, or holds no operator that INT8 makes faster.
    """
    proto = tidy(model)
    if not any(node.op_type in COMPUTING for node in proto.graph.node):
        raise InvalidError(f"the model has no {', '.join(COMPUTING)} to quantise")
    return proto, float_activations(proto, COMPUTING + CARRYING)


def rewrite(proto: onnx.ModelProto, ranges: dict[str, Range], recipe: VariantRecipe) -> bytes:
    """Return the INT8 model: `proto` with QuantizeLinear and DequantizeLinear around its layers.

    Raises:
        InvalidError: an excluded node does not exist.
    """
    names = [node.name for node in proto.graph.node]
    for name in recipe.exclude_nodes:
        if name not in names:
            raise InvalidError(f"no node is named {name!r}{nearest(name, names)}", field="exclude_nodes")
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    quantiser = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=recipe.reduce_range,
        weight_qType=onnx.TensorProto.INT8,
        activation_qType=onnx.TensorProto.UINT8,
        tensors_range=_bounds(ranges),
        nodes_to_quantize=[],
        nodes_to_exclude=list(recipe.exclude_nodes),
        op_types_to_quantize=list(COMPUTING + CARRYING),
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    data = lean(quantiser.model.model)
    load(data)
    return data


def _bounds(ranges: dict[str, Range]) -> TensorsData:
    """Hand our ranges over; MinMax only says that they are plain bounds, to be used as they are."""
    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, data)


def quantise(model: bytes, recipe: VariantRecipe, batches: Batches, watch: Watch | None = None) -> bytes:
    """Return `model` in INT8, calibrated on `batches`."""
    proto, tensors = prepare(model)
    seen = observe(proto, tensors, batches, watch)
    return rewrite(proto, seen.ranges(recipe.calibration, recipe.percentile), recipe)
