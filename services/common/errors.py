"""Failures, named by what the caller can do about them.

Raise these in use cases and engines. One gRPC interceptor and one REST handler
translate them; see `services.common.rpc.status` and `gateway.problems`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One fault in the caller's input: where it stands and how to cure it."""

    field: str
    """Path of the faulty value, such as `train.epochs` or `line 7, train.epochs`."""
    message: str
    """What was got, what was wanted, and the nearest valid value."""


class ModelwrightError(Exception):
    """A failure with a message for the caller: what was wrong, where, and what to do."""

    code = "internal"
    title = "Internal error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidError(ModelwrightError):
    """The input is wrong; the same call will fail again until it is changed."""

    code = "invalid"
    title = "Invalid input"

    def __init__(self, message: str, *, field: str = "", violations: list[Violation] | None = None) -> None:
        super().__init__(message)
        found = violations or ([Violation(field=field, message=message)] if field else [])
        self.violations = tuple(found)


class NotFoundError(ModelwrightError):
    """Nothing has that name, id or digest."""

    code = "not_found"
    title = "Not found"


class ConflictError(ModelwrightError):
    """It exists already, or its state forbids the call."""

    code = "conflict"
    title = "Conflict"


class StaleLeaseError(ModelwrightError):
    """The writer no longer holds the job; it must stop."""

    code = "stale_lease"
    title = "Lease lost"


class BusyError(ModelwrightError):
    """No capacity now; the same call may work later."""

    code = "busy"
    title = "Busy"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(ModelwrightError):
    """Something this service needs (database, storage, another service) is away."""

    code = "unavailable"
    title = "Unavailable"


class UnauthorizedError(ModelwrightError):
    """The caller did not show who it is, or may not do this."""

    code = "unauthorized"
    title = "Unauthorized"


class StorageFullError(ModelwrightError):
    """No room is left where the bytes would go."""

    code = "storage_full"
    title = "No space left"


class TooLargeError(ModelwrightError):
    """The body is larger than allowed."""

    code = "too_large"
    title = "Too large"


ERRORS: tuple[type[ModelwrightError], ...] = (
    InvalidError,
    NotFoundError,
    ConflictError,
    StaleLeaseError,
    BusyError,
    UnavailableError,
    UnauthorizedError,
    StorageFullError,
    TooLargeError,
)
