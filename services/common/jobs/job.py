"""A job as plain data, and the table of its states."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from services.common.errors import ConflictError


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


def check_transition(job_id: str, old: JobState, new: JobState) -> None:
    """Raise ConflictError unless a job may go from `old` to `new`."""
    if new not in TRANSITIONS[old]:
        raise ConflictError(f"job {job_id} is {old}; it cannot become {new}")


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Proof that a worker holds a job. A later claim has a higher token."""

    job_id: str
    token: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """One long task. Times are seconds since 1970; 0 means not yet."""

    id: str
    project: str
    kind: str
    queue: str
    state: JobState
    subject: str = ""
    priority: int = 0
    attempt: int = 0
    progress: float = 0.0
    eta_s: float | None = None
    message: str = ""
    error: str = ""
    worker: str = ""
    cancel_requested: bool = False
    preempt_requested: bool = False
    spec: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    queue_position: int = 0
    waiting_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line that a job wrote. `stream` is stdout, stderr or system."""

    seq: int
    time: float
    stream: str
    text: str


@dataclass(frozen=True, kw_only=True)
class WorkerInfo:
    """A worker process as it last reported itself."""

    name: str
    queues: tuple[str, ...]
    slots: int
    busy_slots: int = 0
    hardware: dict[str, Any] = field(default_factory=dict)
    seen_at: float = 0.0
