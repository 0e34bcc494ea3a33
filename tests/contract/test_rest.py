"""The REST surface against its own description: whatever is sent, the answer is described and no fault of ours."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)

STREAMS = "/events"
"""Event streams have no end of their own; they have tests of their own."""

UNREADABLE = b"Invalid HTTP request received."
"""The HTTP parser's answer to what is no HTTP: no route ever saw it, and none can describe it."""


@pytest.fixture(scope="session")
def schema(gateway_url: str) -> Any:
    return schemathesis.openapi.from_url(f"{gateway_url}/openapi.json")


def test_no_request_is_answered_with_a_fault_of_ours(schema: Any, gateway_url: str) -> None:
    with httpx.Client(base_url=gateway_url, timeout=30) as client:
        assert client.get("/readyz").json()["ready"]
        failures: list[str] = []
        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path.endswith(STREAMS) and operation.method == "get":
                continue
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                failures += fuzz(operation, mode)
        assert not failures, "\n\n".join(failures)
        counted = client.get("/metrics").text
    statuses = {line.split('status="')[1][:3] for line in counted.splitlines() if "_requests_total{" in line}
    assert {"200", "201", "404", "422"} <= statuses


def fuzz(operation: Any, mode: GenerationMode) -> list[str]:
    """Return what was wrong with the answers to some generated requests."""

    @settings(
        max_examples=10,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        response = case.call(timeout=30)
        if response.status_code == 400 and response.content == UNREADABLE:
            return
        case.validate_response(response, checks=CHECKS)

    try:
        run()
    except Unsatisfiable:  # Nothing about this operation can be said wrongly.
        return []
    except (FailureGroup, Failure, AssertionError) as error:
        return [f"{operation.method.upper()} {operation.path}: {error}"]
    return []
