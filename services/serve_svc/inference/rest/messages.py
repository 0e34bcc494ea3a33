"""Requests and responses of the REST side."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson

from services.common.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    ModelwrightError,
    NotFoundError,
    StorageFullError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)

log = logging.getLogger("modelwright.serve")

STATUS: dict[type[ModelwrightError], int] = {
    InvalidError: 400,
    UnauthorizedError: 401,
    NotFoundError: 404,
    ConflictError: 409,
    TooLargeError: 413,
    BusyError: 429,
    UnavailableError: 503,
    StorageFullError: 507,
}

JSON = b"application/json"


@dataclass(slots=True, kw_only=True)
class HttpRequest:
    """One request, whole."""

    method: str
    target: bytes
    """Path and query as they came."""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    """Names in lower case; of repeated ones the last."""
    body: bytes = b""


@dataclass(slots=True, kw_only=True)
class HttpResponse:
    """One response; its parts are sent one behind the other."""

    status: int = 200
    content_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()
    parts: Sequence[bytes] = ()


STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def encode(response: HttpResponse, *, keep_alive: bool) -> list[bytes]:
    """Return what to write to the socket."""
    length = sum([len(part) for part in response.parts])
    head = [
        STATUS_LINES[response.status],
        b"Content-Type: %b\r\nContent-Length: %d\r\n" % (response.content_type, length),
        *[b"%b: %b\r\n" % header for header in response.headers],
        b"\r\n" if keep_alive else b"Connection: close\r\n\r\n",
    ]
    return [b"".join(head), *response.parts]


def json_response(value: object, status: int = 200) -> HttpResponse:
    """Return `value` as JSON."""
    return HttpResponse(status=status, parts=(orjson.dumps(value),))


def failure(error: Exception) -> HttpResponse:
    """Return `{"error": …}` as the protocol words failures."""
    if not isinstance(error, ModelwrightError):
        log.error("a request failed for a reason of our own", exc_info=error)
        return json_response({"error": "the server failed on this request; its log says why"}, 500)
    response = json_response({"error": error.message}, STATUS.get(type(error), 500))
    if isinstance(error, BusyError):
        response.headers = ((b"Retry-After", str(max(1, round(error.retry_after_s))).encode()),)
    return response
