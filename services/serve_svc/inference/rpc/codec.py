"""Inference requests and answers as protobuf messages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from proto.gen.inference import grpc_service_pb2 as pb
from services.common.errors import InvalidError
from services.serve_svc.engine.datatypes import Datatype, datatype
from services.serve_svc.engine.elements import Array, check_shape, count, from_raw, to_raw
from services.serve_svc.engine.generation import Generation, Request, Tensor, Wanted


def decode(message: pb.ModelInferRequest) -> Request:
    """Return the request that `message` stands for.

    Raises:
        InvalidError: a tensor is not what it says it is.
    """
    return Request(
        inputs=_inputs(message),
        wanted=[
            Wanted(name=output.name, classes=_number(output.parameters, "classification")) for output in message.outputs
        ],
        classes=_number(message.parameters, "classification"),
        timeout_us=_number(message.parameters, "timeout"),
    )


def _inputs(message: pb.ModelInferRequest) -> list[Tensor]:
    raws = message.raw_input_contents
    if raws and len(raws) != len(message.inputs):
        raise InvalidError(
            f"{len(raws)} raw_input_contents came for {len(message.inputs)} inputs; send one for each or none",
            field="raw_input_contents",
        )
    return [_input(entry, raws[place] if raws else None) for place, entry in enumerate(message.inputs)]


def _input(entry: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Tensor:
    where = f"input '{entry.name}'"
    kind = datatype(entry.datatype, where)
    shape = check_shape(list(entry.shape), where)
    if entry.parameters and "shared_memory_region" in entry.parameters:
        raise InvalidError(f"{where}: shared memory is not offered here; send the tensor itself", field=where)
    if raw is not None:
        return Tensor(name=entry.name, kind=kind, array=from_raw(raw, kind, shape, where))
    return Tensor(name=entry.name, kind=kind, array=_from_contents(entry, kind, shape, where))


def _from_contents(
    entry: pb.ModelInferRequest.InferInputTensor, kind: Datatype, shape: Sequence[int], where: str
) -> Array:
    if not kind.contents:
        raise InvalidError(f"{where}: {kind.name} travels in raw_input_contents alone", field=where)
    values: Sequence[Any] = getattr(entry.contents, kind.contents)
    if len(values) != count(shape):
        raise InvalidError(
            f"{where}: {len(values)} elements came in {kind.contents}, but shape {list(shape)} takes {count(shape)}",
            field=where,
        )
    array = np.empty(len(values), kind.dtype)
    try:
        array[:] = values
    except OverflowError as error:
        raise InvalidError(f"{where}: an element does not fit into {kind.name}: {error}", field=where) from error
    return array.reshape(shape)


def _number(parameters: Mapping[str, pb.InferParameter], name: str) -> int:
    if not parameters or name not in parameters:
        return 0
    parameter = parameters[name]
    value = getattr(parameter, parameter.WhichOneof("parameter_choice") or "int64_param")
    if type(value) is not int or value < 0:
        raise InvalidError(f"parameter '{name}' must be a whole number, not {value!r}", field=name)
    return value


def encode(message: pb.ModelInferRequest, generation: Generation, tensors: list[Tensor]) -> pb.ModelInferResponse:
    """Return the answer; tensors travel raw."""
    answer = pb.ModelInferResponse(
        model_name=generation.identity.model,
        model_version=generation.identity.version,
        id=message.id or generation.new_prediction_id(),
    )
    for key, value in generation.parameters.items():
        answer.parameters[key].string_param = value
    for tensor in tensors:
        answer.outputs.add(name=tensor.name, datatype=tensor.kind.name, shape=tensor.array.shape)
        answer.raw_output_contents.append(to_raw(tensor.array, tensor.kind))
    return answer
