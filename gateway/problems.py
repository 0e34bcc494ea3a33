"""Errors as RFC 9457 problem documents."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.lifecycles.document import LocatedViolation
from services.common.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    ModelwrightError,
    NotFoundError,
    StaleLeaseError,
    StorageFullError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    Violation,
)
from services.common.logs import REQUEST_ID

MEDIA_TYPE = "application/problem+json"

STATUSES: dict[type[ModelwrightError], int] = {
    InvalidError: 422,
    NotFoundError: 404,
    ConflictError: 409,
    StaleLeaseError: 409,
    BusyError: 429,
    UnavailableError: 503,
    UnauthorizedError: 401,
    StorageFullError: 507,
    TooLargeError: 413,
    ModelwrightError: 500,
}

PATTERN_CURES = {
    "[A-Za-z0-9._-]{0,127}": "is not a valid name: use 1 to 128 letters, digits, '.', '_' or '-', and begin with a "
    "letter or digit",
    "[A-Za-z0-9._:@/-]": "is not a reference; write a name, 'name:3', 'name@alias' or a digest",
    "sha256:[0-9a-f]{64}": "is not a digest; one reads 'sha256:' and 64 hex digits",
    r"[^\x00": "has control characters; leave them out",
}
"""What to say of a text that does not match, by a part of the pattern; a regular expression says it to few."""
MAX_SHOWN = 300
"""Characters of a caller's own value that a message repeats."""


class OffsetError(ConflictError):
    """A part of an upload begins elsewhere than where the bytes received end."""

    def __init__(self, message: str, *, received: int) -> None:
        super().__init__(message)
        self.received = received


class ForbiddenError(ModelwrightError):
    """The request comes from where none may come from."""

    code = "forbidden"
    title = "Forbidden"


class MalformedError(ModelwrightError):
    """The body cannot be read at all: no JSON, wrong encoding, wrong media type."""

    code = "malformed"
    title = "Malformed request"


class GatewayTimeoutError(ModelwrightError):
    """A server behind the gateway did not answer in time."""

    code = "timeout"
    title = "Timed out"


OWN_STATUSES: dict[type[ModelwrightError], int] = {
    ForbiddenError: 403,
    MalformedError: 400,
    GatewayTimeoutError: 504,
    OffsetError: 409,
}


def status_of(error: ModelwrightError) -> int:
    """Return the HTTP status of a domain error."""
    known = OWN_STATUSES | STATUSES
    return next(known[kind] for kind in type(error).__mro__ if kind in known)


def problem(error: ModelwrightError, instance: str = "") -> Response:
    """Return the problem document of a domain error, with what tells a caller when to come back."""
    status = status_of(error)
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if isinstance(error, InvalidError) and error.violations:
        extra["violations"] = [_violation(one) for one in error.violations]
    if isinstance(error, OffsetError):
        extra["received"] = error.received
    if isinstance(error, BusyError):
        seconds = max(1, round(error.retry_after_s))
        headers = {"Retry-After": str(seconds), "RateLimit": f'"default";r=0;t={seconds}'}
    if isinstance(error, UnavailableError):
        headers = {"Retry-After": "1"}
    if isinstance(error, UnauthorizedError):
        headers = {"WWW-Authenticate": 'Bearer realm="modelwright"'}
    return document(status, error.code, error.title, error.message, instance=instance, extra=extra, headers=headers)


def document(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    instance: str = "",
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return one problem document."""
    body = {
        "type": f"urn:modelwright:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "instance": instance,
        "request_id": REQUEST_ID.get(),
        **(extra or {}),
    }
    safe = orjson.dumps(_encodable(body))
    return Response(safe, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def from_http(error: HTTPException, method: str, path: str) -> Response:
    """Return the problem document of the framework's own refusals (404, 405 and their like)."""
    status = HTTPStatus(error.status_code)
    allowed = (error.headers or {}).get("Allow", "nothing")
    details = {
        404: f"there is no {path[:MAX_SHOWN]!r} here; see /openapi.json for what there is",
        405: f"{method} is not answered at {path[:MAX_SHOWN]!r}; allowed: {allowed}",
    }
    detail = details.get(status.value) or str(error.detail)
    code = {404: "not_found", 405: "method_not_allowed", 400: "malformed"}.get(status.value, status.name.lower())
    return document(status.value, code, status.phrase, detail, instance=path, headers=error.headers)


def from_validation(error: RequestValidationError, path: str) -> Response:
    """Return the problem document of a request that does not fit its schema; every fault is listed."""
    faults = error.errors()
    if faults and faults[0]["type"] == "json_invalid":
        reason = str(faults[0].get("ctx", {}).get("error", "cannot be read"))
        return problem(MalformedError(f"the body is no JSON: {reason}"), path)
    violations = [Violation(field=_location(fault["loc"]), message=_complaint(fault)) for fault in faults]
    text = "; ".join(f"{one.field}: {one.message}" if one.field else one.message for one in violations)
    return problem(InvalidError(text, violations=violations), path)


def _location(parts: tuple[int | str, ...]) -> str:
    where = [part for index, part in enumerate(parts) if index or part not in ("body", "query", "path", "header")]
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text or "body"


def _complaint(fault: Mapping[str, Any]) -> str:
    message = str(fault["msg"])
    value = fault.get("input")
    if fault["type"] == "missing":
        return "is missing; add it"
    if fault["type"] == "extra_forbidden":
        return "is not a field here; remove it or see /openapi.json for those there are"
    if fault["type"] == "string_pattern_mismatch" and (cure := _pattern_cure(str(fault["ctx"]["pattern"]))):
        return f"{str(value)[:60]!r} {cure}"
    shown = f" (got {str(value)[:60]!r})" if isinstance(value, str | int | float | bool) else ""
    return f"{message[:1].lower()}{message[1:]}{shown}"


def _pattern_cure(pattern: str) -> str:
    return next((cure for sign, cure in PATTERN_CURES.items() if sign in pattern), "")


def _violation(one: Violation) -> dict[str, Any]:
    fields: dict[str, Any] = {"field": one.field, "message": one.message}
    if isinstance(one, LocatedViolation) and one.line:
        fields |= {"line": one.line, "column": one.column}
    return fields


def _encodable(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return `value` with lone surrogates replaced, which JSON's UTF-8 cannot carry."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value
