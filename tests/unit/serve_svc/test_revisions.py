"""States of revisions and options of deployments."""

import pytest

from services.common.errors import InvalidError
from services.serve_svc.engine.deployment import NEXT, Report, RevisionState, judge
from services.serve_svc.engine.options import Batching, ServingOptions, parse_options

PENDING, LOADING, READY, FAILED, RETIRED = RevisionState


@pytest.mark.parametrize(
    ("live", "told", "state"),
    [
        ({}, {}, PENDING),
        ({"a"}, {}, PENDING),
        ({"a"}, {"a": LOADING}, LOADING),
        ({"a", "b"}, {"a": READY}, LOADING),
        ({"a", "b"}, {"a": READY, "b": READY}, READY),
        ({"a", "b"}, {"a": READY, "b": FAILED}, FAILED),
        ({"a"}, {"a": READY, "gone": FAILED}, READY),
        ({}, {"gone": READY}, PENDING),
    ],
)
def test_a_revision_is_ready_once_every_live_server_has_it(
    live: set[str], told: dict[str, RevisionState], state: RevisionState
) -> None:
    reports = [Report(server=name, state=said, error="why") for name, said in told.items()]
    found, error = judge(PENDING, set(live), reports)
    assert found is state
    assert (error == "b: why") is (state is FAILED)


def test_nothing_follows_a_retired_revision_and_a_ready_one_never_fails() -> None:
    assert NEXT[RETIRED] == set()
    assert NEXT[READY] == {RETIRED}
    assert set(NEXT) == set(RevisionState)


def test_options_are_read() -> None:
    found = parse_options({"instances": 2, "batching": {"max_batch_size": 4}})
    assert found == ServingOptions(instances=2, batching=Batching(max_batch_size=4))


def test_every_fault_of_the_options_is_told_at_once() -> None:
    with pytest.raises(InvalidError) as caught:
        parse_options({"instance": 1, "threads": "two", "max_queue": 0, "batching": {"max_batch": 1}})
    found = {violation.field: violation.message for violation in caught.value.violations}
    assert found == {
        "instance": "unknown; did you mean 'instances'?",
        "threads": "must be an integer, not 'two'",
        "max_queue": "0 is not within 1 to 1000000",
        "batching.max_batch": "unknown; did you mean 'max_batch_size'?",
    }
    wrongs: list[object] = [[], {"batching": 3}]
    for wrong in wrongs:
        with pytest.raises(InvalidError, match="must be a mapping"):
            parse_options(wrong)
