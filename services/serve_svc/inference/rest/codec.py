"""Inference requests and answers as JSON, with tensors in it or as bytes behind it.

The binary tensor extension: `Inference-Header-Content-Length` says where the
JSON ends; the tensors follow in the order of the inputs that carry
`binary_data_size`.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from services.common.errors import InvalidError, TooLargeError
from services.serve_svc.engine.datatypes import DATATYPES, datatype
from services.serve_svc.engine.elements import check_shape, from_list, from_raw, to_list, to_raw
from services.serve_svc.engine.generation import Generation, Request, Tensor, Wanted
from services.serve_svc.engine.pipeline import RAW_INPUT
from services.serve_svc.inference.rest.messages import HttpRequest, HttpResponse

HEADER_LENGTH = b"inference-header-content-length"
NO_PARAMETERS: dict[str, Any] = {}


@dataclass(slots=True, kw_only=True)
class Call:
    """A decoded request and how its answer shall look."""

    request: Request
    id: str = ""
    binary: bool = False
    """Outputs travel as bytes unless they say otherwise."""
    binary_by_name: Mapping[str, bool] | None = None


def unpack(http: HttpRequest, most: int) -> bytes:
    """Return the body without its `Content-Encoding` (gzip, deflate or none)."""
    encoding = http.headers.get(b"content-encoding", b"identity").lower()
    if encoding == b"identity":
        return http.body
    if encoding not in (b"gzip", b"deflate"):
        raise InvalidError(f"Content-Encoding {encoding.decode('latin-1')!r} is unknown; use gzip or deflate")
    try:
        inflater = zlib.decompressobj(wbits=47)
        body = inflater.decompress(http.body, most + 1)
    except zlib.error as error:
        raise InvalidError(f"the body cannot be unpacked: {error}") from error
    if len(body) > most:
        raise TooLargeError(f"the unpacked body exceeds {most} bytes; send fewer rows a request")
    if not inflater.eof:
        raise InvalidError("the packed body is cut off")
    return body


def decode_picture(http: HttpRequest, body: bytes) -> Call:
    """Return the request that a body of `image/*` stands for."""
    array = np.empty(1, np.object_)
    array[0] = body
    tensor = Tensor(name=RAW_INPUT, kind=DATATYPES["BYTES"], array=array)
    return Call(request=Request(inputs=(tensor,)))


def decode(http: HttpRequest, body: bytes) -> Call:
    """Return the call that a JSON body, with or without bytes behind it, stands for."""
    head, tail = _divide(http.headers.get(HEADER_LENGTH), body)
    try:
        data = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise InvalidError(f"the request's JSON cannot be read: {error}") from error
    if not isinstance(data, dict) or not isinstance(data.get("inputs"), list):
        raise InvalidError('the request must be a JSON object with a list of "inputs"', field="inputs")
    parameters = _parameters(data, "the request")
    outputs = data.get("outputs") or []
    if not isinstance(outputs, list):
        raise InvalidError('"outputs" must be a list', field="outputs")
    wanted = [_wanted(entry) for entry in outputs]
    by_name = {w.name: _parameters(e, w.name).get("binary_data") for w, e in zip(wanted, outputs, strict=True)}
    request_id = data.get("id", "")
    if not isinstance(request_id, str):
        raise InvalidError("`id` must be a string", field="id")
    return Call(
        request=Request(
            inputs=_inputs(data["inputs"], tail),
            wanted=wanted,
            classes=_number(parameters, "classification"),
            timeout_us=_number(parameters, "timeout"),
        ),
        id=request_id,
        binary=parameters.get("binary_data_output") is True,
        binary_by_name={name: flag for name, flag in by_name.items() if isinstance(flag, bool)},
    )


def _divide(length: bytes | None, body: bytes) -> tuple[bytes | memoryview, memoryview]:
    if length is None:
        return body, memoryview(b"")
    if not length.isdigit() or int(length) > len(body):
        raise InvalidError(
            f"Inference-Header-Content-Length is {length.decode('latin-1')!r}, but the body has {len(body)} bytes"
        )
    view, at = memoryview(body), int(length)
    return view[:at], view[at:]


def _inputs(entries: list[Any], tail: memoryview) -> list[Tensor]:
    tensors: list[Tensor] = []
    at = 0
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise InvalidError('each input is an object with "name", "datatype", "shape" and "data"', field="inputs")
        name = entry["name"]
        where = f"input {name!r}"
        kind = datatype(entry.get("datatype", ""), where)
        shape = check_shape(entry.get("shape"), where)
        parameters = _parameters(entry, where)
        if "shared_memory_region" in parameters:
            raise InvalidError(f"{where}: shared memory is not offered here; send the tensor itself", field=where)
        size = parameters.get("binary_data_size")
        if size is None:
            array = from_list(entry.get("data"), kind, shape, where)
        else:
            if type(size) is not int or size < 0 or at + size > len(tail):
                raise InvalidError(
                    f"{where}: binary_data_size is {size!r}, but {len(tail) - at} bytes are left behind the JSON",
                    field=where,
                )
            array = from_raw(tail[at : at + size], kind, shape, where)
            at += size
        tensors.append(Tensor(name=name, kind=kind, array=array))
    if at != len(tail):
        raise InvalidError(f"{len(tail) - at} bytes behind the JSON belong to no input (binary_data_size)")
    return tensors


def _wanted(entry: object) -> Wanted:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise InvalidError('each of "outputs" is an object with a "name"', field="outputs")
    return Wanted(name=entry["name"], classes=_number(_parameters(entry, entry["name"]), "classification"))


def _parameters(entry: dict[str, Any], where: str) -> dict[str, Any]:
    found = entry.get("parameters") or NO_PARAMETERS
    if not isinstance(found, dict):
        raise InvalidError(f"{where}: `parameters` must be an object", field="parameters")
    return found


def _number(parameters: dict[str, Any], name: str) -> int:
    value = parameters.get(name, 0)
    if type(value) is not int or value < 0:
        raise InvalidError(f"parameter {name!r} must be a whole number, not {value!r}", field=name)
    return value


def encode(call: Call, generation: Generation, tensors: list[Tensor]) -> HttpResponse:
    """Return the answer in the form that the call asks for."""
    outputs: list[dict[str, Any]] = []
    raws: list[bytes] = []
    by_name = call.binary_by_name or {}
    for tensor in tensors:
        entry: dict[str, Any] = {"name": tensor.name, "datatype": tensor.kind.name, "shape": tensor.array.shape}
        if by_name.get(tensor.name, call.binary):
            raw = to_raw(tensor.array, tensor.kind)
            entry["parameters"] = {"binary_data_size": len(raw)}
            raws.append(raw)
        else:
            entry["data"] = to_list(tensor.array, tensor.kind, f"output {tensor.name!r}")
        outputs.append(entry)
    head = orjson.dumps(
        {
            "id": call.id or generation.new_prediction_id(),
            "model_name": generation.identity.model,
            "model_version": generation.identity.version,
            "parameters": generation.parameters,
            "outputs": outputs,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    if not raws:
        return HttpResponse(parts=(head,))
    return HttpResponse(
        content_type=b"application/octet-stream",
        headers=((b"Inference-Header-Content-Length", b"%d" % len(head)),),
        parts=(head, *raws),
    )
