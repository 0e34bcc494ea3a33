"""The two state machines, as tables."""

from services.common.errors import ConflictError

STAGES = ("data", "train", "compress", "gate", "serve")
"""Every stage there is, in order."""

RUNNING, PENDING = "running", "pending"
SUCCEEDED, REUSED, FAILED, CANCELLED = "succeeded", "reused", "failed", "cancelled"

LIFECYCLE_MOVES: dict[str, frozenset[str]] = {
    RUNNING: frozenset({SUCCEEDED, FAILED, CANCELLED}),
    SUCCEEDED: frozenset({RUNNING}),
    FAILED: frozenset({RUNNING}),
    CANCELLED: frozenset({RUNNING}),
}
"""From a lifecycle's state to those that may follow; RUNNING follows an end by a restart."""

STAGE_MOVES: dict[str, frozenset[str]] = {
    PENDING: frozenset({RUNNING, CANCELLED, PENDING}),
    RUNNING: frozenset({RUNNING, SUCCEEDED, REUSED, FAILED, CANCELLED, PENDING}),
    SUCCEEDED: frozenset({PENDING}),
    REUSED: frozenset({PENDING}),
    FAILED: frozenset({PENDING}),
    CANCELLED: frozenset({PENDING}),
}
"""From a stage's state to those that may follow; RUNNING follows itself when the gateway was restarted."""

DONE = frozenset({SUCCEEDED, REUSED})
"""A stage here has a result."""
ENDED = frozenset({SUCCEEDED, FAILED, CANCELLED})
"""A lifecycle here has nothing under way."""


def check_move(moves: dict[str, frozenset[str]], now: str, then: str, what: str) -> str:
    """Return `then` if the table lets it follow `now`."""
    if then not in moves[now]:
        raise ConflictError(f"{what} is {now} and cannot become {then}; it can become {', '.join(sorted(moves[now]))}")
    return then
