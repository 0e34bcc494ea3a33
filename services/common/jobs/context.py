"""What a job's body is given, and how it says that it left early."""

import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from services.common.jobs.job import Job, Lease
from services.common.settings import CommonSettings


class JobStopped(Exception):
    """The body noticed `stop_requested`, saved what it had, and left."""


@dataclass(kw_only=True)
class JobContext:
    """A job's body is `def body(context: JobContext) -> dict[str, Any]`; what it prints is the job's log."""

    job: Job
    """The job, with its `spec`, `subject` and `attempt` (2 and more: go on from the last checkpoint)."""
    lease: Lease
    """Sent with every write; a StaleLeaseError means: stop, another has the job."""
    settings: CommonSettings
    """Addresses and storage, as the worker has them."""
    outbox: Connection
    """To the worker that supervises this process."""
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def stop_requested(self) -> bool:
        """Whether the job was cancelled, preempted or its worker is leaving: checkpoint, then raise JobStopped."""
        return self.stop.is_set()

    def report(self, *, progress: float, eta_s: float | None = None, message: str | None = None) -> None:
        """Say how far the work is (0 to 1), how many seconds are left, and what it does now."""
        self.outbox.send(("progress", progress, eta_s, message))

    def finish(self, outcome: str, detail: Any) -> None:  # noqa: ANN401 - JSON or text by outcome
        """Tell the supervisor how the work ended; called by the child's frame, not by bodies."""
        self.outbox.send((outcome, detail))
