"""Calls: problems become exceptions, repetition only where it is safe."""

from typing import Any

import pytest

from modelwright import BusyError, Client, InvalidError, NotFoundError, UnauthorizedError, UnavailableError
from modelwright.client import ClientSettings
from modelwright.client.problems import problem_error
from modelwright.client.resource import part


def test_a_problem_becomes_the_exception_that_it_names() -> None:
    body = {"code": "invalid", "detail": "two faults", "violations": [{"field": "epochs", "message": "is -1"}]}
    error = problem_error(422, body)
    assert isinstance(error, InvalidError)
    assert error.message == "two faults"
    assert (error.violations[0].field, error.violations[0].message) == ("epochs", "is -1")


@pytest.mark.parametrize("body", [None, [], "text", {"violations": 3}, {"type": None}])
def test_an_answer_that_is_no_problem_still_tells_the_status(body: object) -> None:
    assert isinstance(problem_error(404, body), NotFoundError)


def test_a_get_is_repeated_while_the_server_is_away(gateway: Any, client: Client) -> None:
    gateway.runs["run_1"] = {"id": "run_1", "state": "running"}
    gateway.failures = [(503, "away"), (503, "away")]
    assert client.runs.get("run_1").id == "run_1"


def test_a_repeated_post_carries_the_same_key_and_makes_one_run(gateway: Any, client: Client) -> None:
    gateway.failures = [(503, "away")]
    client.runs.create("one")
    keys = [headers["idempotency-key"] for method, _, headers in gateway.requests if method == "POST"]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert len(gateway.runs) == 1


def test_a_post_whose_answer_was_lost_makes_one_run(gateway: Any, connect: Any, cutting_proxy: Any) -> None:
    proxy = cutting_proxy(gateway.port, downward=[10])
    connect(proxy.url).runs.create("one")
    assert len(gateway.runs) == 1


def test_a_busy_server_is_asked_again_and_then_named(gateway: Any, connect: Any) -> None:
    gateway.failures = [(429, "full")] * 3
    with pytest.raises(BusyError, match="full"):
        connect(gateway.url, retries=2).runs.create("one")


def test_wrong_input_is_not_repeated(gateway: Any, client: Client) -> None:
    gateway.failures = [(422, "wrong")]
    with pytest.raises(InvalidError, match="wrong"):
        client.runs.create("one")
    assert len(gateway.requests) == 1


def test_a_server_that_is_not_there_is_told_with_the_cure(connect: Any) -> None:
    with pytest.raises(UnavailableError, match="modelwright up"):
        connect("http://127.0.0.1:9", retries=0).runs.get("run_1")


def test_a_missing_token_is_told_with_the_cure(gateway: Any, connect: Any) -> None:
    gateway.token = "secret"
    gateway.runs["run_1"] = {"id": "run_1"}
    with pytest.raises(UnauthorizedError, match="MODELWRIGHT_TOKEN"):
        connect(gateway.url).runs.get("run_1")
    assert connect(gateway.url, token="secret").runs.get("run_1").id == "run_1"


def test_pages_are_asked_for_as_they_are_reached(gateway: Any, client: Client) -> None:
    gateway.runs = {f"run_{n}": {"id": f"run_{n}"} for n in range(5)}
    found = client.runs.list()
    assert next(found).id == "run_0"
    assert len(gateway.requests) == 1
    assert [run.id for run in found] == ["run_1", "run_2", "run_3", "run_4"]


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_would_steer_the_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidError):
        part(name)


def test_a_name_with_slashes_stays_one_part_of_the_path() -> None:
    assert part("../../gc") == "..%2F..%2Fgc"
    assert part("digits:3") == "digits:3"


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://x", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="not a server address"):
        ClientSettings(url=url)


def test_a_fault_of_a_document_is_found_by_its_line() -> None:
    found = [{"field": "epochs", "message": "is 'many'", "line": 8}, {"field": "", "message": "not YAML", "line": 2}]
    error = problem_error(422, {"code": "invalid", "detail": "two faults", "violations": found})
    assert isinstance(error, InvalidError)
    assert [violation.field for violation in error.violations] == ["line 8, epochs", "line 2"]
