"""Problem documents (RFC 9457) become the exceptions that name what the caller can do."""

from typing import Any

from services.common.errors import (
    ERRORS,
    BusyError,
    ConflictError,
    InvalidError,
    ModelwrightError,
    NotFoundError,
    StorageFullError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    Violation,
)

BY_CODE = {error.code: error for error in ERRORS}
BY_STATUS: dict[int, type[ModelwrightError]] = {
    400: InvalidError,
    401: UnauthorizedError,
    403: UnauthorizedError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
    413: TooLargeError,
    422: InvalidError,
    429: BusyError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
    507: StorageFullError,
}


def problem_error(status: int, body: Any, retry_after: str = "") -> ModelwrightError:  # noqa: ANN401 - any JSON value
    """Return the exception for an answer of `status` 400 or more whose decoded body is `body`.

    The class follows the problem's `code`, else its `type`, else the status.
    """
    problem = body if isinstance(body, dict) else {}
    code = str(problem.get("code") or str(problem.get("type", "")).rsplit("/", 1)[-1]).replace("-", "_")
    kind = BY_CODE.get(code) or BY_STATUS.get(status, ModelwrightError)
    violations = _violations(problem)
    message = _message(status, problem, violations)
    if issubclass(kind, InvalidError):
        return kind(message, violations=violations)
    if issubclass(kind, BusyError):
        return kind(message, retry_after_s=_seconds(retry_after or problem.get("retry_after_s")))
    if issubclass(kind, UnauthorizedError) and "MODELWRIGHT_TOKEN" not in message:
        message += " (give a token with --token or MODELWRIGHT_TOKEN)"
    return kind(message)


def _message(status: int, problem: dict[str, Any], violations: list[Violation]) -> str:
    detail = problem.get("detail") or problem.get("title")
    if detail:
        return str(detail)
    if violations:
        return "; ".join(found.message for found in violations)
    return f"the server answered with status {status} and no reason; its log says more"


def _violations(problem: dict[str, Any]) -> list[Violation]:
    found = problem.get("violations")
    return [
        Violation(field=_place(item), message=str(item.get("message", "")))
        for item in (found if isinstance(found, list) else [])
        if isinstance(item, dict)
    ]


def _place(item: dict[str, Any]) -> str:
    """Return `line 7, train.epochs`: a fault of a document that has lines is found by its line."""
    line = f"line {item['line']}" if item.get("line") else ""
    return ", ".join(part for part in (line, str(item.get("field", ""))) if part)


def _seconds(text: Any) -> float:  # noqa: ANN401 - a header, a number or nothing
    try:
        return max(0.0, float(text))
    except (TypeError, ValueError):
        return 1.0
