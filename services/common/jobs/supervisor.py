"""Runs one claimed job in a child process: renews its lease, carries its log, obeys and reports."""

import json
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from multiprocessing.context import BaseContext
from typing import Any

from proto.gen.modelwright.common.v1 import job_pb2 as pb
from proto.gen.modelwright.common.v1.job_pb2_grpc import JobServiceStub
from services.common.errors import ModelwrightError, StaleLeaseError, UnavailableError
from services.common.jobs.child import Orders, run_child
from services.common.jobs.job import Job, JobState, Lease
from services.common.jobs.output import LineBuffer
from services.common.jobs.wire import STATES, lease_to_wire, line_to_wire
from services.common.rpc import call
from services.common.settings import CommonSettings

log = logging.getLogger("modelwright.worker")

FLUSH_S = 0.1
"""How long a line may wait for others before it is sent."""
HEAR_S = 1.0
"""How long a request to cancel or to leave may go unheard."""
PROGRESS_S = 0.5
"""How often progress alone is sent."""
REPORT_FOR_S = 120.0
"""How long the end of a job is offered to a service that is away."""


class Supervisor:
    """One job's child and everything that is said about it.

    Args:
        stub: the service that owns the job.
        target: the body, `package.module:function`.
        job: as claimed.
        lease: as claimed.
        lease_s: how long it lasts.
        processes: where children come from.
        settings: passed on to the body.
        leaving: whether this worker is stopping.
    """

    def __init__(
        self,
        stub: JobServiceStub,
        target: str,
        job: Job,
        lease: Lease,
        lease_s: float,
        *,
        processes: BaseContext,
        settings: CommonSettings,
        leaving: Callable[[], bool],
    ) -> None:
        self._stub, self._target, self._job, self._lease, self._lease_s = stub, target, job, lease, lease_s
        self._processes, self._settings, self._leaving = processes, settings, leaving
        self._lines = LineBuffer()
        self._outcome: tuple[str, Any] | None = None
        self._progress: tuple[float, float | None, str | None] | None = None
        self._renewed_at = time.monotonic()
        self._asked: set[str] = set()
        self._term_at = 0.0

    def run(self) -> None:
        """Do the job to its end, whichever that is; returns once the service knows or cannot be told."""
        try:
            exit_code = self._watch()
        except StaleLeaseError as error:
            log.warning("%s", error.message)
            return
        self._tell(exit_code)

    def _watch(self) -> int | None:
        inbox, outbox = self._processes.Pipe(duplex=False)
        output, child_output = self._processes.Pipe(duplex=False)
        child_alive, alive = self._processes.Pipe(duplex=False)
        orders = Orders(
            target=self._target, job=self._job, lease=self._lease, settings=self._settings,
            outbox=outbox, output=child_output, alive=child_alive,
        )  # fmt: skip
        child = self._processes.Process(target=run_child, args=(orders,), name=self._job.id)  # type: ignore[attr-defined]
        child.start()
        for end in (outbox, child_output, child_alive):
            end.close()
        try:
            self._carry(child, inbox, output)
        finally:
            if child.is_alive():
                child.kill()
            child.join()
            for end in (inbox, output, alive):
                end.close()
        return int(child.exitcode or 0)

    def _carry(self, child: Any, inbox: Any, output: Any) -> None:  # noqa: ANN401 - of the context in use
        os.set_blocking(output.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(inbox, selectors.EVENT_READ, lambda: self._receive(inbox))
            selector.register(output, selectors.EVENT_READ, lambda: self._lines.read(output.fileno()))
            while selector.get_map():
                for key, _ in selector.select(FLUSH_S):
                    if not key.data():
                        selector.unregister(key.fileobj)
                self._renew_if_due()
                self._obey(child)
        self._renew()

    def _receive(self, inbox: Any) -> bool:  # noqa: ANN401 - a pipe's end
        try:
            message = inbox.recv()
        except (EOFError, OSError):
            return False
        if message[0] == "progress":
            self._progress = message[1:]
        else:
            self._outcome = message
        return True

    def _renew_if_due(self) -> None:
        age = time.monotonic() - self._renewed_at
        if (
            age > min(HEAR_S, self._lease_s / 3)
            or (self._lines.pending and age > FLUSH_S)
            or (self._progress and age > PROGRESS_S)
        ):
            self._renew()

    def _renew(self) -> None:
        lines, progress = self._lines.first(500), self._progress
        request = pb.RenewLeaseRequest(lease=lease_to_wire(self._lease), lines=[line_to_wire(line) for line in lines])
        if progress:
            request.progress = progress[0]
            if progress[1] is not None:
                request.eta_s = progress[1]
            if progress[2] is not None:
                request.message = progress[2]
        self._renewed_at = time.monotonic()
        try:
            answer = call(self._stub.RenewLease, request, timeout_s=5, wait=False)
        except UnavailableError as error:
            # The work goes on; the service takes the job back only once the lease is dead.
            log.info("lease of %s not renewed: %s", self._job.id, error.message)
            return
        self._lines.drop(len(lines))
        if self._progress is progress:
            self._progress = None
        self._asked |= {"cancel"} if answer.cancel_requested else set()
        self._asked |= {"preempt"} if answer.preempt_requested else set()

    def _obey(self, child: Any) -> None:  # noqa: ANN401 - of the context in use
        if self._leaving():
            self._asked.add("leave")
        if self._asked and child.is_alive():
            if not self._term_at:
                self._term_at = time.monotonic()
                os.kill(child.pid, signal.SIGTERM)
            elif time.monotonic() - self._term_at > self._settings.grace_s:
                child.kill()

    def _tell(self, exit_code: int | None) -> None:
        deadline = time.monotonic() + REPORT_FOR_S
        while time.monotonic() < deadline:
            try:
                while self._lines.pending:
                    self._renew()
                    if self._lines.pending:
                        time.sleep(0.2)
                    if time.monotonic() > deadline:
                        break
                self._end(exit_code)
                return
            except StaleLeaseError as error:
                log.warning("the end of %s came too late: %s", self._job.id, error.message)
                return
            except ModelwrightError as error:
                log.warning("the end of %s is not known yet: %s", self._job.id, error.message)
                time.sleep(1)

    def _end(self, exit_code: int | None) -> None:
        outcome, detail = self._outcome or ("crashed", _crash(exit_code))
        lease = lease_to_wire(self._lease)
        if outcome == "succeeded":
            request = pb.FinishJobRequest(lease=lease, state=STATES[JobState.SUCCEEDED], result_json=json.dumps(detail))
        elif "cancel" in self._asked:
            request = pb.FinishJobRequest(lease=lease, state=STATES[JobState.CANCELLED])
        elif self._asked and outcome in ("stopped", "crashed"):
            reason = "preempted" if "preempt" in self._asked else "its worker is shutting down"
            call(self._stub.ReleaseJob, pb.ReleaseJobRequest(lease=lease, reason=reason))
            return
        else:
            error = detail or "the work stopped by itself without being asked"
            request = pb.FinishJobRequest(lease=lease, state=STATES[JobState.FAILED], error=error)
        call(self._stub.FinishJob, request)


def _crash(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = "; the system may have run out of memory: lower the batch size" if name == "SIGKILL" else ""
        return f"the work was ended by {name}{hint}"
    return f"the work ended with exit code {exit_code} before it could say why; see the log"
