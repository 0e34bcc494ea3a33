"""Problem documents: what, where, and what to do, with the status that says who can help."""

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway.lifecycles.document import LocatedViolation, invalid
from gateway.problems import OffsetError, from_http, problem
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


def body_of(response: Response) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(response.body))
    return found


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidError("x"), 422),
        (NotFoundError("x"), 404),
        (ConflictError("x"), 409),
        (BusyError("x"), 429),
        (UnavailableError("x"), 503),
        (UnauthorizedError("x"), 401),
        (StorageFullError("x"), 507),
        (TooLargeError("x"), 413),
        (ModelwrightError("x"), 500),
    ],
)
def test_each_error_has_its_status(error: ModelwrightError, status: int) -> None:
    response = problem(error, "/here")
    body = body_of(response)
    assert response.status_code == body["status"] == status
    assert response.media_type == "application/problem+json"
    assert body["code"] == error.code
    assert body["instance"] == "/here"


def test_a_busy_answer_says_when_to_come_back() -> None:
    response = problem(BusyError("full", retry_after_s=7))
    assert response.headers["retry-after"] == "7"
    assert "t=7" in response.headers["ratelimit"]


def test_a_cut_upload_is_told_where_it_goes_on() -> None:
    assert body_of(problem(OffsetError("x", received=42)))["received"] == 42


def test_faults_of_a_document_carry_their_lines() -> None:
    error = invalid([LocatedViolation(field="train.epochs", message="is a text", line=3, column=5)], "the lifecycle")
    body = body_of(problem(error))
    assert body["violations"] == [{"field": "train.epochs", "message": "is a text", "line": 3, "column": 5}]
    assert "line 3, column 5: train.epochs" in body["detail"]


def test_text_that_is_no_unicode_does_not_break_the_answer() -> None:
    assert body_of(problem(NotFoundError("no \ud800 here")))["detail"] == "no ? here"


def test_a_wrong_method_is_told_the_right_one() -> None:
    body = body_of(from_http(HTTPException(405, headers={"Allow": "GET"}), "PUT", "/x"))
    assert body["detail"] == "PUT is not answered at '/x'; allowed: GET"
