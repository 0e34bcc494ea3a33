"""Errors become one message on standard error and an exit code that CI can act on."""

import sys

from modelwright.cli.text import clean
from services.common.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    ModelwrightError,
    NotFoundError,
    StaleLeaseError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)

OK, FAILED, INVALID, NOT_FOUND, CONFLICT, UNAVAILABLE, UNAUTHORIZED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130
EXIT_CODES = """Exit codes: 0 done; 1 the work failed (a stage, a job, a gate); 2 wrong input or usage;
3 nothing has that name; 4 its state forbids it; 5 the server is away or busy, try again; 6 not allowed, give a token;
130 interrupted."""

CODES: dict[type[ModelwrightError], int] = {
    InvalidError: INVALID,
    TooLargeError: INVALID,
    NotFoundError: NOT_FOUND,
    ConflictError: CONFLICT,
    StaleLeaseError: CONFLICT,
    BusyError: UNAVAILABLE,
    UnavailableError: UNAVAILABLE,
    UnauthorizedError: UNAUTHORIZED,
}


def exit_code(error: ModelwrightError) -> int:
    """Return the exit code for a failure."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), FAILED)


def report(error: ModelwrightError) -> int:
    """Write the failure to standard error, its violations a line each, and return its exit code."""
    lines = [error.message]
    if isinstance(error, InvalidError) and len(error.violations) > 1:
        lines = [f"{len(error.violations)} faults:"]
        lines += [
            f"  {found.field}: {found.message}" if found.field else f"  {found.message}" for found in error.violations
        ]
    sys.stderr.write(clean(f"error: {chr(10).join(lines)}") + "\n")
    return exit_code(error)
