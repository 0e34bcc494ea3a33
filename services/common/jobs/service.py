"""The use cases of jobs. Each is one transaction; bells ring and watchers wake after it."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from sqlalchemy import event
from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.errors import InvalidError
from services.common.ids import new_id
from services.common.jobs.job import Job, JobState, Lease, LogLine, WorkerInfo, check_transition
from services.common.jobs.repository import JobRepository
from services.common.jobs.tables import JobTables
from services.common.jobs.waiting import explain
from services.common.paging import decode_token, encode_token, page_limit
from services.common.signals import Signal

log = logging.getLogger("modelwright.jobs")

LOOK_AGAIN_S = 0.5
"""How often a watcher looks for changes that another replica made."""
MAX_LOSSES = 5
"""A job that loses its worker this often is likely what kills it."""


class Bell(Protocol):
    """Tells workers that a job waits. It may be lost; nothing depends on it but speed."""

    def ring(self, job_id: str, queue: str) -> None:
        """Wake a worker of the queue; never raises."""


class JobService:
    """Submits, hands out, watches and ends the jobs of one service.

    Args:
        database: where the tables are.
        tables: made by `job_tables` in the service's metadata.
        bell: rung after each commit that queued a job.
        lease_s: how long a worker holds a job without renewing.
        ring_again_s: a queued job's bell counts as lost after this long.
        on_change: called in the same transaction with every job whose state changed.
    """

    def __init__(
        self,
        database: Database,
        tables: JobTables,
        bell: Bell,
        *,
        lease_s: float = 15.0,
        ring_again_s: float = 10.0,
        on_change: Callable[[Session, Job], None] = lambda session, job: None,
    ) -> None:
        self.lease_s = lease_s
        self._ring_again_s = ring_again_s
        self._database = database
        self._repository = JobRepository(tables)
        self._bell = bell
        self._on_change = on_change
        self._signal = Signal()

    # Callers

    def submit(
        self,
        session: Session,
        *,
        kind: str,
        project: str,
        queue: str,
        spec: dict[str, Any],
        subject: str = "",
        priority: int = 0,
        idempotency_key: str = "",
    ) -> Job:
        """Queue a job in the caller's transaction; a key used before gives the job of then."""
        if idempotency_key and (known := self._repository.find_by_key(session, project, kind, idempotency_key)):
            return known
        job = Job(
            id=new_id("job"), project=project, kind=kind, queue=queue, state=JobState.QUEUED, subject=subject,
            priority=priority, spec=spec, created_at=time.time(),
        )  # fmt: skip
        self._repository.add(session, job, idempotency_key or None)
        self._after_commit(session, lambda: self._ring(job))
        return self._explained(session, job)

    def get(self, job_id: str) -> Job:
        """Return a job, with its place in the queue and why it waits."""
        with self._database.read() as session:
            return self._explained(session, self._repository.get(session, job_id))

    def page(
        self, *, project: str, states: Sequence[JobState], subject: str, page_size: int, page_token: str
    ) -> tuple[list[Job], str]:
        """Return a page of jobs, newest first, and the token of the next."""
        query = {"project": project, "states": [state.value for state in states], "subject": subject}
        after, limit = decode_token(page_token, query), page_limit(page_size)
        with self._database.read() as session:
            rows = self._repository.page(
                session, project=project, states=states, subject=subject, after=after, limit=limit + 1
            )
            jobs = [self._explained(session, job) for job in rows[:limit]]
        more = len(rows) > limit
        return jobs, encode_token([jobs[-1].created_at, jobs[-1].id], query) if more else ""

    def watch(self, job_id: str, leave: Callable[[], bool]) -> Iterator[Job]:
        """Yield the job now and after each change, until it has ended or `leave()`."""
        last: Job | None = None
        while not leave():
            seen = self._signal.count(job_id)
            job = self.get(job_id)
            if job != last:
                yield job
            if job.state.ended:
                return
            last = job
            self._signal.wait(job_id, seen, LOOK_AGAIN_S)

    def read_log(
        self, job_id: str, after_seq: int, *, follow: bool, leave: Callable[[], bool]
    ) -> Iterator[Sequence[LogLine]]:
        """Yield the lines behind `after_seq` in groups; with `follow`, until the job has ended."""
        while not leave():
            seen = self._signal.count(job_id)
            with self._database.read() as session:
                ended = self._repository.get(session, job_id).state.ended
                lines = self._repository.lines(session, job_id, after_seq)
            if lines:
                yield lines
                after_seq = lines[-1].seq
            elif ended or not follow:
                return
            else:
                self._signal.wait(job_id, seen, LOOK_AGAIN_S)

    def cancel(self, job_id: str) -> Job:
        """End a queued job at once; ask a running one to checkpoint and leave; leave an ended one as it is."""
        with self._database.write() as session:
            job = self._repository.get(session, job_id)
            if job.state is JobState.QUEUED:
                return self._end(session, job, JobState.CANCELLED, message="cancelled before it ran")
            if job.state is JobState.RUNNING:
                self._repository.change(session, job_id, cancel_requested=True)
                self._note(session, job_id, "cancel requested")
            return self._repository.get(session, job_id)

    def preempt(self, job_id: str) -> Job:
        """Ask a running job to checkpoint, leave and queue again."""
        with self._database.write() as session:
            job = self._repository.get(session, job_id)
            if job.state is not JobState.QUEUED:
                check_transition(job_id, job.state, JobState.QUEUED)
                self._repository.change(session, job_id, preempt_requested=True)
                self._note(session, job_id, "preemption requested")
            return self._repository.get(session, job_id)

    def workers(self) -> Sequence[WorkerInfo]:
        """Return the workers heard of lately."""
        with self._database.read() as session:
            return self._repository.workers(session)

    def forget(self, session: Session, subject: str) -> None:
        """Delete the jobs of a deleted subject, in the caller's transaction."""
        self._repository.delete(session, subject)

    # Workers

    def claim(self, worker: str, queues: Sequence[str]) -> tuple[Job, Lease] | None:
        """Give the worker the next job of its queues, or None."""
        with self._database.write() as session:
            while job := self._repository.next_queued(session, queues):
                if lease := self._repository.claim(session, job.id, worker, time.time() + self.lease_s):
                    claimed = self._repository.get(session, job.id)
                    self._note(session, job.id, f"attempt {claimed.attempt} on worker {worker}")
                    self._on_change(session, claimed)
                    return claimed, lease
        return None

    def check_lease(self, session: Session, lease: Lease) -> Job:
        """Return the held job, in the transaction of the write that the lease fences.

        Raises:
            StaleLeaseError: another worker has the job, or it has ended.
        """
        return self._repository.held(session, lease)

    def renew(
        self,
        lease: Lease,
        *,
        progress: float | None = None,
        eta_s: float | None = None,
        message: str | None = None,
        lines: Sequence[LogLine] = (),
    ) -> Job:
        """Keep the lease alive, note progress and lines, and return the job with what is asked of it."""
        changes: dict[str, Any] = {"lease_until": time.time() + self.lease_s}
        if progress is not None:
            changes.update(progress=min(1.0, max(0.0, progress)), eta_s=eta_s)
        if message is not None:
            changes["message"] = message
        with self._database.write() as session:
            job = self._repository.held(session, lease)
            self._repository.change(session, job.id, **changes)
            self._repository.add_lines(session, job.id, lines, from_worker=True)
            self._after_commit(session, lambda: self._signal.notify(job.id))
        return job

    def finish(self, lease: Lease, state: JobState, *, error: str = "", result: dict[str, Any] | None = None) -> Job:
        """End a held job."""
        if not state.ended:
            raise InvalidError(f"a job cannot finish as {state}; use succeeded, failed or cancelled", field="state")
        with self._database.write() as session:
            job = self._repository.held(session, lease)
            return self._end(session, job, state, error=error, result=result)

    def release(self, lease: Lease, reason: str) -> Job:
        """Put a held job back on the queue, as after a preemption."""
        with self._database.write() as session:
            job = self._repository.held(session, lease)
            return self._put_back(session, job, f"back on the queue: {reason}", lost=False)

    def report(self, worker: WorkerInfo) -> int:
        """Note a worker and return how many jobs wait on its queues."""
        with self._database.write() as session:
            self._repository.report(session, worker)
            return self._repository.count_queued(session, worker.queues)

    # The reaper

    def reap(self) -> None:
        """Put jobs with a dead lease back, and ring again for queued jobs whose bell was lost."""
        now = time.time()
        with self._database.read() as session:
            if not self._repository.needs_reaping(session, now, now - self._ring_again_s):
                return
        with self._database.write() as session:
            for job in self._repository.expired(session, now):
                self._lose(session, job)
            for job in self._repository.unheard(session, now - self._ring_again_s):
                self._after_commit(session, lambda job=job: self._ring(job))  # type: ignore[misc]

    def _lose(self, session: Session, job: Job) -> None:
        log.warning("job %s lost its worker %s", job.id, job.worker)
        if self._repository.losses(session, job.id) + 1 >= MAX_LOSSES:
            error = f"its worker was lost {MAX_LOSSES} times (last: {job.worker}); see that it has enough memory"
            self._end(session, job, JobState.FAILED, error=error)
        elif job.cancel_requested:
            self._end(session, job, JobState.CANCELLED)
        else:
            self._put_back(session, job, f"worker {job.worker} was lost; back on the queue", lost=True)

    def _put_back(self, session: Session, job: Job, note: str, *, lost: bool) -> Job:
        self._repository.put_back(session, job.id, lost=lost)
        self._note(session, job.id, note)
        queued = self._repository.get(session, job.id)
        self._on_change(session, queued)
        self._after_commit(session, lambda: self._ring(queued))
        return queued

    def _end(self, session: Session, job: Job, state: JobState, **values: Any) -> Job:  # noqa: ANN401 - columns
        check_transition(job.id, job.state, state)
        if state is JobState.SUCCEEDED:
            values["progress"] = 1.0
        self._repository.change(session, job.id, state=state, finished_at=time.time(), eta_s=None, **values)
        self._note(session, job.id, f"{state}: {values['error']}" if values.get("error") else str(state))
        ended = self._repository.get(session, job.id)
        self._on_change(session, ended)
        return ended

    def _note(self, session: Session, job_id: str, text: str) -> None:
        line = LogLine(seq=0, time=time.time(), stream="system", text=text)
        self._repository.add_lines(session, job_id, [line], from_worker=False)
        self._after_commit(session, lambda: self._signal.notify(job_id))

    def _explained(self, session: Session, job: Job) -> Job:
        if job.state is not JobState.QUEUED:
            return job
        ahead = self._repository.count_ahead(session, job)
        reason = explain(job.queue, ahead, self._repository.workers(session))
        return replace(job, queue_position=ahead + 1, waiting_reason=reason)

    def _ring(self, job: Job) -> None:
        self._signal.notify(job.id)
        self._bell.ring(job.id, job.queue)

    @staticmethod
    def _after_commit(session: Session, act: Callable[[], None]) -> None:
        event.listen(session, "after_commit", lambda _: act(), once=True)
