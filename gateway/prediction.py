"""Predictions: what people send, as the Open Inference Protocol of the deployment's server, and back."""

import base64
import binascii
import struct
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from gateway.problems import GatewayTimeoutError, MalformedError
from gateway.upstream import Upstream
from proto.gen.modelwright.serve.v1 import deployment_pb2
from services.common.errors import (
    BusyError,
    InvalidError,
    ModelwrightError,
    StorageFullError,
    TooLargeError,
    UnavailableError,
)
from services.common.rpc import acall
from services.common.rpc.credentials import http_context
from services.common.settings import TlsSettings

RAW_INPUT = "image"
"""The tensor that carries raw pictures to the model's own pre-processing."""
LABELS_OUTPUT = "labels"
TOP = 5
"""Classes told for each sample."""
FRESH_S = 1.0
"""How long a deployment's addresses are taken as known."""
REMEMBERED = 1000
TIMEOUT = httpx.Timeout(60.0, connect=2.0)
CONNECTIONS = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=60)
MAX_IMAGES = 4096
FORMS = ("inputs", "instances", "images")
SCORED = frozenset({"FP32", "FP64", "FP16", "BF16"})
TABLE_RANK = 2
ERRORS: dict[int, type[ModelwrightError]] = {
    400: InvalidError,
    404: UnavailableError,  # The deployment exists, so its server is only not there yet.
    408: GatewayTimeoutError,
    413: TooLargeError,
    429: BusyError,
    503: UnavailableError,
    507: StorageFullError,
}
FIRST_ERROR = 400


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a deployment answers."""

    deployment: deployment_pb2.Deployment
    seen_at: float


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The tensors of a revision, as its server tells them."""

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]

    @property
    def classifies(self) -> bool:
        """Say whether the first output reads as scores of classes: a table of real numbers."""
        first = self.outputs[0] if self.outputs else {}
        return first.get("datatype") in SCORED and len(first.get("shape", [])) == TABLE_RANK


class Predictor:
    """Calls inference servers over connections that are kept.

    Args:
        upstream: knows where deployments answer.
        tls: whom to trust among inference servers, and what to show them.
    """

    def __init__(self, upstream: Upstream, tls: TlsSettings) -> None:
        self._upstream = upstream
        context = http_context(tls) or True
        self._http = httpx.AsyncClient(timeout=TIMEOUT, limits=CONNECTIONS, trust_env=False, verify=context)
        self._targets: OrderedDict[tuple[str, str], Target] = OrderedDict()
        self._signatures: OrderedDict[str, Signature] = OrderedDict()
        self._turn = 0

    async def predict(self, project: str, name: str, body: bytes, content_type: str) -> dict[str, Any]:
        """Return the answer with what it came from.

        Raises:
            InvalidError: the body does not fit the model.
            UnavailableError: the deployment is not ready.
        """
        target = await self._target(project, name)
        signature = await self._signature(target)
        head, tail = _request(body, content_type, signature)
        began = time.perf_counter()
        response = await self._infer(project, target, head, tail)
        latency_ms = 1000 * (time.perf_counter() - began)
        return _answer(_decoded(response), target.deployment, latency_ms)

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def _infer(self, project: str, target: Target, head: dict[str, Any], tail: bytes) -> httpx.Response:
        name = target.deployment.name
        prefix = orjson.dumps(head)
        headers = {"Content-Type": "application/octet-stream" if tail else "application/json"}
        if tail:
            headers["Inference-Header-Content-Length"] = str(len(prefix))
        path = f"/v2/models/{quote(name, safe='')}/infer"
        try:
            return await self._post(target, path, prefix + tail, headers)
        except UnavailableError:  # Its servers may have moved since we looked.
            self._targets.pop((project, name), None)
            return await self._post(await self._target(project, name), path, prefix + tail, headers)

    async def _post(self, target: Target, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        failure: ModelwrightError = UnavailableError(f"deployment {target.deployment.name} has no server yet")
        for url in self._urls(target):
            try:
                response = await self._http.post(url + path, content=body, headers=headers)
            except httpx.TimeoutException as error:
                raise GatewayTimeoutError(f"the inference server at {url} did not answer in time") from error
            except httpx.TransportError as error:
                failure = UnavailableError(f"the inference server at {url} does not answer ({error})")
                continue
            if response.status_code < FIRST_ERROR:
                return response
            failure = _failure(response, url)
            if not isinstance(failure, UnavailableError):
                raise failure
        raise failure

    def _urls(self, target: Target) -> list[str]:
        """Return the servers' addresses, beginning with the next in turn."""
        urls = [one.rest_url.rstrip("/") for one in target.deployment.endpoints if one.rest_url]
        self._turn += 1
        start = self._turn % len(urls) if urls else 0
        return urls[start:] + urls[:start]

    async def _target(self, project: str, name: str) -> Target:
        known = self._targets.get((project, name))
        if known and time.monotonic() - known.seen_at < FRESH_S:
            return known
        request = deployment_pb2.GetDeploymentRequest(project=project, name=name)
        deployment = (await acall(self._upstream.deployments.GetDeployment, request, wait=False)).deployment
        if not deployment.HasField("active"):
            state = deployment_pb2.RevisionState.Name(deployment.desired.state).removeprefix("REVISION_STATE_").lower()
            reason = f": {deployment.desired.error}" if deployment.desired.error else ""
            raise UnavailableError(f"deployment {name} is {state} and takes no traffic yet{reason}")
        found = Target(deployment=deployment, seen_at=time.monotonic())
        _remember(self._targets, (project, name), found)
        return found

    async def _signature(self, target: Target) -> Signature:
        revision = target.deployment.active.id
        known = self._signatures.get(revision)
        if known:
            return known
        path = f"/v2/models/{quote(target.deployment.name, safe='')}"
        failure: ModelwrightError = UnavailableError(f"deployment {target.deployment.name} has no server yet")
        for url in self._urls(target):
            try:
                response = await self._http.get(url + path)
            except httpx.TransportError as error:
                failure = UnavailableError(f"the inference server at {url} does not answer ({error})")
                continue
            if response.status_code < FIRST_ERROR:
                value = orjson.loads(response.content)
                found = Signature(inputs=value.get("inputs", []), outputs=value.get("outputs", []))
                _remember(self._signatures, revision, found)
                return found
            failure = _failure(response, url)
        raise failure


def _remember(kept: OrderedDict[Any, Any], key: object, value: object) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > REMEMBERED:
        kept.popitem(last=False)


def _failure(response: httpx.Response, url: str) -> ModelwrightError:
    try:
        message = str(orjson.loads(response.content)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        message = f"the inference server at {url} answered with status {response.status_code}"
    kind = ERRORS.get(response.status_code, ModelwrightError)
    if kind is BusyError:
        after = response.headers.get("retry-after", "1")
        return BusyError(message, retry_after_s=float(after) if after.isdigit() else 1.0)
    return kind(message)


def _request(body: bytes, content_type: str, signature: Signature) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of the protocol's request, and the bytes behind it."""
    parameters: dict[str, Any] = {"classification": TOP} if signature.classifies else {}
    if content_type.startswith("image/"):
        if not body:
            raise InvalidError("the body is empty; send the picture's bytes", field="body")
        return _pictures([body], parameters)
    if content_type != "application/json":
        raise MalformedError(f"{content_type!r} is not read here; send application/json or a picture as image/…")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is no JSON: {error}") from error
    stated = [form for form in FORMS if isinstance(value, dict) and form in value]
    if len(stated) != 1 or not isinstance(value[stated[0]], list) or not value[stated[0]]:
        raise InvalidError(
            "give one of 'inputs' (tensors of the Open Inference Protocol), 'instances' (one entry a sample) or "
            "'images' (base64), as a list that is not empty",
            field="body",
        )
    unknown = sorted(set(value) - {*FORMS, "outputs", "id"})
    if unknown:
        raise InvalidError(f"{unknown[0]!r} is not a field here; remove it", field=unknown[0])
    if "images" in value:
        return _pictures(_images(value["images"]), parameters)
    tensors = value["inputs"] if "inputs" in value else _tensors(value["instances"], signature)
    kept = {key: value[key] for key in ("outputs", "id") if key in value}
    return {"inputs": tensors, "parameters": parameters, **kept}, b""


def _images(texts: list[Any]) -> list[bytes]:
    if len(texts) > MAX_IMAGES:
        raise InvalidError(f"{len(texts)} images are too many; send at most {MAX_IMAGES}", field="images")
    pictures = []
    for index, text in enumerate(texts):
        try:
            pictures.append(base64.b64decode(text.encode("ascii"), validate=True))
        except (AttributeError, UnicodeEncodeError, binascii.Error) as error:
            raise InvalidError(f"images[{index}] is not base64; encode the file's bytes", field="images") from error
    return pictures


def _pictures(pictures: list[bytes], parameters: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return a BYTES tensor in the protocol's binary form: each element behind its length."""
    raw = b"".join(struct.pack("<I", len(one)) + one for one in pictures)
    tensor = {
        "name": RAW_INPUT,
        "datatype": "BYTES",
        "shape": [len(pictures)],
        "parameters": {"binary_data_size": len(raw)},
    }
    return {"inputs": [tensor], "parameters": parameters}, raw


def _tensors(instances: list[Any], signature: Signature) -> list[dict[str, Any]]:
    """Return the tensors of `instances`: one value a sample, or with several inputs a mapping of them."""
    if not signature.inputs:
        raise InvalidError("the model tells no inputs; send 'inputs'", field="instances")
    if all(isinstance(one, dict) for one in instances):
        names = [spec["name"] for spec in signature.inputs]
        for index, one in enumerate(instances):
            if set(one) != set(names):
                raise InvalidError(f"instances[{index}] must have the inputs {', '.join(names)}", field="instances")
        columns = {name: [one[name] for one in instances] for name in names}
    elif len(signature.inputs) == 1:
        columns = {signature.inputs[0]["name"]: instances}
    else:
        raise InvalidError("the model has several inputs; give each instance as a mapping of them", field="instances")
    return [
        {
            "name": spec["name"],
            "datatype": spec["datatype"],
            "shape": _shape(columns[spec["name"]], spec["name"]),
            "data": columns[spec["name"]],
        }
        for spec in signature.inputs
    ]


def _shape(value: Any, name: str) -> list[int]:  # noqa: ANN401 - nested lists
    """Return the shape of nested lists, refusing ragged ones."""
    shape: list[int] = []
    level = [value]
    while isinstance(level[0], list):
        lengths = {len(one) if isinstance(one, list) else -1 for one in level}
        if len(lengths) != 1:
            raise InvalidError(f"the instances of {name!r} differ in shape; make them alike", field="instances")
        shape.append(lengths.pop())
        level = [item for one in level for item in one]
        if not level:
            break
    if level and any(isinstance(one, list) for one in level):
        raise InvalidError(f"the instances of {name!r} differ in shape; make them alike", field="instances")
    return shape


def _decoded(response: httpx.Response) -> dict[str, Any]:
    try:
        value = orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise ModelwrightError("the inference server's answer cannot be read; see its log") from error
    return value if isinstance(value, dict) else {}


def _answer(value: dict[str, Any], deployment: deployment_pb2.Deployment, latency_ms: float) -> dict[str, Any]:
    """Return the answer in the gateway's words; where it came from is what the server itself says."""
    active = deployment.active
    told = value.get("parameters") or {}
    outputs = [one for one in value.get("outputs", []) if one.get("name") != LABELS_OUTPUT]
    labels = next((one for one in value.get("outputs", []) if one.get("name") == LABELS_OUTPUT), None)
    version = value.get("model_version") or active.model_number
    return {
        "id": value.get("id", ""),
        "model": f"{active.model_name}/{version}",
        "model_digest": told.get("model_digest", active.model_digest),
        "run": told.get("run", active.run_id),
        "dataset": told.get("dataset", active.dataset_digest),
        "deployment": deployment.name,
        "revision": told.get("revision", active.id),
        "outputs": outputs,
        "predictions": _predictions(labels) if labels else [],
        "latency_ms": round(latency_ms, 3),
    }


def _predictions(labels: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each sample's best classes, read from `score:index[:label]`."""
    shape, flat = labels.get("shape", []), _flat(labels.get("data", []))
    width = shape[-1] if shape else 0
    rows = [flat[at : at + width] for at in range(0, len(flat), width)] if width else []
    found = []
    for row in rows:
        top = [_class(str(text)) for text in row]
        found.append({"label": top[0]["label"], "score": top[0]["score"], "top": top})
    return found


def _flat(value: Any) -> list[Any]:  # noqa: ANN401 - nested lists
    return [item for one in value for item in _flat(one)] if isinstance(value, list) else [value]


def _class(text: str) -> dict[str, Any]:
    score, _, rest = text.partition(":")
    index, _, label = rest.partition(":")
    return {"label": label or index, "score": float(score)}
