"""Half precision inside, float32 at the edges: half the file, faster on GPUs, seldom on a CPU."""

import warnings

import numpy as np
import onnx
from onnx import numpy_helper
from onnxconverter_common import float16

from services.common.errors import InvalidError
from services.compress_svc.engine.graph import lean, load

LARGEST = 65504.0
"""Greatest finite float16."""


def to_half(model: bytes) -> bytes:
    """Return `model` with weights and arithmetic in float16; inputs and outputs keep their types.

    Operators that have no float16 form stay in float32 between casts. Weights below the least float16 become zero's
    nearest neighbour, as the converter does.

    Raises:
        InvalidError: a weight is larger than float16 can hold, or the graph is no valid model.
    """
    proto = load(model)
    _check_weights(proto)
    with warnings.catch_warnings():
        # The converter tells of each tiny weight; the replay of the golden inputs tells of what that costs.
        warnings.simplefilter("ignore")
        converted: onnx.ModelProto = float16.convert_float_to_float16(proto, keep_io_types=True)
    return lean(converted)


def _check_weights(proto: onnx.ModelProto) -> None:
    for item in proto.graph.initializer:
        if item.data_type == onnx.TensorProto.FLOAT:
            weights = numpy_helper.to_array(item)
            largest = float(np.abs(weights).max()) if weights.size else 0.0
            if largest > LARGEST:
                raise InvalidError(f"weight {item.name!r} reaches {largest:g}; float16 ends at {LARGEST:g}")
