"""Domain errors as gRPC statuses, and back, without loss."""

import json
from typing import Any

import grpc

from services.common.errors import (
    ERRORS,
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

Metadata = tuple[tuple[str, str | bytes], ...]

DETAIL_KEY = "modelwright-error-bin"
"""Trailing metadata that carries what a gRPC status has no room for, as JSON."""

MAX_VIOLATIONS = 100
"""More would not fit into the metadata that peers accept, nor be read by anybody."""

STATUS: dict[type[ModelwrightError], grpc.StatusCode] = {
    InvalidError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    ConflictError: grpc.StatusCode.ALREADY_EXISTS,
    StaleLeaseError: grpc.StatusCode.FAILED_PRECONDITION,
    # ABORTED, not UNAVAILABLE: a server's own "away" must not be retried blindly by the channel.
    UnavailableError: grpc.StatusCode.ABORTED,
    BusyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnauthorizedError: grpc.StatusCode.UNAUTHENTICATED,
    StorageFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooLargeError: grpc.StatusCode.OUT_OF_RANGE,
    ModelwrightError: grpc.StatusCode.INTERNAL,
}

PLAIN: dict[grpc.StatusCode, type[ModelwrightError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: BusyError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthorizedError,
    grpc.StatusCode.PERMISSION_DENIED: UnauthorizedError,
}
"""For statuses that did not come from our own interceptor."""

BY_CODE = {error.code: error for error in ERRORS}


def to_status(error: ModelwrightError) -> tuple[grpc.StatusCode, str, Metadata]:
    """Return the status code, its message and the trailing metadata for `error`."""
    detail: dict[str, object] = {"code": error.code}
    if isinstance(error, InvalidError):
        detail["violations"] = [[v.field, v.message] for v in error.violations[:MAX_VIOLATIONS]]
    if isinstance(error, BusyError):
        detail["retry_after_s"] = error.retry_after_s
    return (
        STATUS.get(type(error), grpc.StatusCode.INTERNAL),
        error.message,
        ((DETAIL_KEY, json.dumps(detail).encode()),),
    )


def from_status(error: grpc.RpcError, peer: str) -> ModelwrightError:
    """Return the domain error that a failed call to `peer` stands for."""
    code, message = error.code(), error.details() or ""
    trailer: Any = error.trailing_metadata() or ()
    for key, value in trailer:
        if key == DETAIL_KEY:
            return _rebuild(json.loads(value), message)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        message = f"{peer} does not answer ({code.name.lower()}: {message}); is the service running there?"
    return PLAIN.get(code, ModelwrightError)(message)


def _rebuild(detail: dict[str, object], message: str) -> ModelwrightError:
    kind = BY_CODE.get(str(detail["code"]), ModelwrightError)
    if kind is InvalidError:
        pairs = detail.get("violations")
        assert isinstance(pairs, list)
        return InvalidError(message, violations=[Violation(field=f, message=m) for f, m in pairs])
    if kind is BusyError:
        return BusyError(message, retry_after_s=float(str(detail.get("retry_after_s", 1.0))))
    return kind(message)
