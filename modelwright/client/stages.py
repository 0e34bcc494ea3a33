"""A lifecycle and its stages, as the server tells of them."""

from datetime import datetime
from typing import Any

import msgspec

from modelwright.client.records import ENDED, Record


class StageJob(Record, frozen=True):
    """How far the job that carries out a stage is."""

    id: str = ""
    state: str = ""
    progress: float = 0.0
    eta_s: float | None = None
    message: str = ""
    queue_position: int = 0
    waiting_reason: str = ""


class Stage(Record, frozen=True):
    """A stage of a lifecycle: its state, how far it is while it runs, and what it made."""

    name: str = ""
    state: str = ""
    reused: bool = False
    attempt: int = 0
    progress: float = 0.0
    eta_s: float | None = None
    message: str = ""
    waiting_reason: str = ""
    error: str = ""
    job_id: str = ""
    job: StageJob | None = None
    run_id: str = ""
    digest: str = ""
    figures: dict[str, Any] = msgspec.field(default_factory=dict)
    result: Any = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_s: float | None = None


class Lifecycle(Record, frozen=True):
    """A road from data to traffic, and how far it has come."""

    id: str = ""
    project: str = ""
    name: str = ""
    state: str = ""
    error: str = ""
    stages: list[Stage] = msgspec.field(default_factory=list)
    spec: Any = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_s: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the state is final."""
        return self.state in ENDED
