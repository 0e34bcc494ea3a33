"""All SQL of jobs."""

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from services.common.errors import NotFoundError, StaleLeaseError
from services.common.jobs.job import Job, JobState, Lease, LogLine, WorkerInfo
from services.common.jobs.tables import JobTables

WORKER_AGE_S = 30.0
"""A worker not heard of for this long is gone."""
MAX_LINES = 200_000
"""Lines kept of one job."""
MAX_LINE_CHARS = 10_000


class JobRepository:
    """Reads and writes one service's job tables."""

    def __init__(self, tables: JobTables) -> None:
        self._jobs, self._lines, self._workers = tables.jobs, tables.lines, tables.workers

    def add(self, session: Session, job: Job, idempotency_key: str | None) -> None:
        """Insert a new job."""
        values = {
            **{name: getattr(job, name) for name in ("id", "project", "kind", "queue", "subject", "priority")},
            **{name: getattr(job, name) for name in ("attempt", "progress", "message", "error", "worker")},
            **{name: getattr(job, name) for name in ("cancel_requested", "preempt_requested", "created_at")},
            **dict.fromkeys(("token", "lease_until", "losses", "line_count", "attempt_lines"), 0),
            **dict.fromkeys(("started_at", "finished_at"), 0.0),
        }
        values.update(state=job.state.value, spec=json.dumps(job.spec), rung_at=job.created_at)
        session.execute(insert(self._jobs).values(**values, idempotency_key=idempotency_key))

    def find_by_key(self, session: Session, project: str, kind: str, key: str) -> Job | None:
        """Return the job that was submitted under an idempotency key."""
        where = (self._jobs.c.project == project, self._jobs.c.kind == kind, self._jobs.c.idempotency_key == key)
        row = session.execute(select(self._jobs).where(*where)).first()
        return _job(row) if row else None

    def get(self, session: Session, job_id: str) -> Job:
        """Return a job or raise NotFoundError."""
        return _job(self._row(session, job_id))

    def page(
        self,
        session: Session,
        *,
        project: str,
        states: Sequence[JobState],
        subject: str,
        after: Sequence[Any] | None,
        limit: int,
    ) -> list[Job]:
        """Return jobs, newest first, behind the (created_at, id) of `after`."""
        jobs = self._jobs.c
        query = select(self._jobs).order_by(jobs.created_at.desc(), jobs.id.desc()).limit(limit)
        if project:
            query = query.where(jobs.project == project)
        if states:
            query = query.where(jobs.state.in_([state.value for state in states]))
        if subject:
            query = query.where(jobs.subject == subject)
        if after:
            query = query.where(tuple_(jobs.created_at, jobs.id) < tuple_(*after))
        return [_job(row) for row in session.execute(query)]

    def next_queued(self, session: Session, queues: Sequence[str]) -> Job | None:
        """Return the job that is next on any of the queues."""
        jobs = self._jobs.c
        query = select(self._jobs).where(jobs.state == JobState.QUEUED.value, jobs.queue.in_(queues))
        row = session.execute(query.order_by(jobs.priority.desc(), jobs.created_at, jobs.id).limit(1)).first()
        return _job(row) if row else None

    def claim(self, session: Session, job_id: str, worker: str, lease_until: float) -> Lease | None:
        """Give a queued job to a worker; None if another was faster."""
        jobs, now = self._jobs.c, time.time()
        change = update(self._jobs).where(jobs.id == job_id, jobs.state == JobState.QUEUED.value)
        values: dict[str, Any] = {
            "state": JobState.RUNNING.value,
            "attempt": jobs.attempt + 1,
            "token": jobs.token + 1,
            "started_at": func.coalesce(func.nullif(jobs.started_at, 0.0), now),
        }
        values.update(worker=worker, lease_until=lease_until, attempt_lines=0, message="", eta_s=None)
        token = session.scalar(change.values(**values).returning(jobs.token))
        return Lease(job_id=job_id, token=token) if token else None

    def held(self, session: Session, lease: Lease) -> Job:
        """Return the job if the lease still holds it, locked against other writers.

        Raises:
            StaleLeaseError: it was claimed again, ended or put back.
        """
        jobs = self._jobs.c
        query = select(self._jobs).where(jobs.id == lease.job_id).with_for_update()
        row = session.execute(query).first()
        if row is None or row.token != lease.token or row.state != JobState.RUNNING.value:
            state = "is gone" if row is None else f"is {row.state} under another lease"
            raise StaleLeaseError(f"job {lease.job_id} {state}; token {lease.token} is old: stop and write nothing")
        return _job(row)

    def change(self, session: Session, job_id: str, **values: Any) -> None:  # noqa: ANN401 - column values
        """Set columns of a job."""
        if "state" in values:
            values["state"] = JobState(values["state"]).value
        if "result" in values and values["result"] is not None:
            values["result"] = json.dumps(values["result"])
        session.execute(update(self._jobs).where(self._jobs.c.id == job_id).values(**values))

    def put_back(self, session: Session, job_id: str, *, lost: bool) -> None:
        """Queue a running job again; its old token is worth nothing from now on."""
        jobs, now = self._jobs.c, time.time()
        change = update(self._jobs).where(jobs.id == job_id).values(
            state=JobState.QUEUED.value, token=jobs.token + 1, worker="", preempt_requested=False, eta_s=None,
            rung_at=now, losses=jobs.losses + int(lost),
        )  # fmt: skip
        session.execute(change)

    def losses(self, session: Session, job_id: str) -> int:
        """Return how many times the job lost its worker."""
        return int(session.scalar(select(self._jobs.c.losses).where(self._jobs.c.id == job_id)) or 0)

    def needs_reaping(self, session: Session, now: float, rung_before: float) -> bool:
        """Return whether `expired` or `unheard` would find a job; reads only."""
        jobs = self._jobs.c
        dead = (jobs.state == JobState.RUNNING.value) & (jobs.lease_until < now)
        unheard = (jobs.state == JobState.QUEUED.value) & (jobs.rung_at < rung_before)
        return session.scalar(select(jobs.id).where(dead | unheard).limit(1)) is not None

    def expired(self, session: Session, now: float) -> list[Job]:
        """Return running jobs whose lease is dead."""
        jobs = self._jobs.c
        query = select(self._jobs).where(jobs.state == JobState.RUNNING.value, jobs.lease_until < now)
        return [_job(row) for row in session.execute(query.with_for_update(skip_locked=True))]

    def unheard(self, session: Session, rung_before: float, limit: int = 100) -> list[Job]:
        """Return queued jobs whose bell was rung before the given time, and note that it rings now."""
        jobs = self._jobs.c
        query = select(self._jobs).where(jobs.state == JobState.QUEUED.value, jobs.rung_at < rung_before)
        found = [_job(row) for row in session.execute(query.order_by(jobs.priority.desc()).limit(limit))]
        if found:
            ids = [job.id for job in found]
            session.execute(update(self._jobs).where(jobs.id.in_(ids)).values(rung_at=time.time()))
        return found

    def count_ahead(self, session: Session, job: Job) -> int:
        """Return how many queued jobs are before this one on its queue."""
        jobs = self._jobs.c
        first = (jobs.priority > job.priority) | (
            (jobs.priority == job.priority) & (tuple_(jobs.created_at, jobs.id) < tuple_(job.created_at, job.id))
        )
        query = select(func.count()).where(jobs.state == JobState.QUEUED.value, jobs.queue == job.queue, first)
        return session.scalar(query) or 0

    def count_queued(self, session: Session, queues: Sequence[str]) -> int:
        """Return how many jobs wait on the queues."""
        jobs = self._jobs.c
        query = select(func.count()).where(jobs.state == JobState.QUEUED.value, jobs.queue.in_(queues))
        return session.scalar(query) or 0

    def add_lines(self, session: Session, job_id: str, lines: Iterable[LogLine], *, from_worker: bool) -> None:
        """Append lines. Those of a worker are numbered by it within the attempt; repeated ones are dropped."""
        row = self._row(session, job_id)
        new = [line for line in lines if not from_worker or line.seq > row.attempt_lines]
        if not new:
            return
        kept = new[: max(0, MAX_LINES - row.line_count)]
        rows = [
            {"job_id": job_id, "seq": row.line_count + i, "time": line.time, "stream": line.stream,
             "text": line.text[:MAX_LINE_CHARS].replace("\0", "\N{REPLACEMENT CHARACTER}")}
            for i, line in enumerate(kept, start=1)
        ]  # fmt: skip
        if rows:
            session.execute(insert(self._lines), rows)
        received = max(line.seq for line in new) if from_worker else row.attempt_lines
        self.change(session, job_id, line_count=row.line_count + len(kept), attempt_lines=received)

    def lines(self, session: Session, job_id: str, after_seq: int, limit: int = 1000) -> list[LogLine]:
        """Return the job's lines behind `after_seq`."""
        line = self._lines.c
        query = select(self._lines).where(line.job_id == job_id, line.seq > after_seq).order_by(line.seq).limit(limit)
        return [LogLine(seq=r.seq, time=r.time, stream=r.stream, text=r.text) for r in session.execute(query)]

    def delete(self, session: Session, subject: str) -> None:
        """Delete the ended jobs of a subject, with their lines."""
        ids = select(self._jobs.c.id).where(self._jobs.c.subject == subject)
        session.execute(delete(self._lines).where(self._lines.c.job_id.in_(ids)))
        session.execute(delete(self._jobs).where(self._jobs.c.subject == subject))

    def report(self, session: Session, worker: WorkerInfo) -> None:
        """Note what a worker said of itself, now."""
        values = {
            "queues": json.dumps(worker.queues),
            "slots": worker.slots,
            "busy_slots": worker.busy_slots,
            "hardware": json.dumps(worker.hardware),
            "seen_at": time.time(),
        }
        known = session.execute(update(self._workers).where(self._workers.c.name == worker.name).values(**values))
        if known.rowcount == 0:  # type: ignore[attr-defined]
            session.execute(insert(self._workers).values(name=worker.name, **values))
        session.execute(delete(self._workers).where(self._workers.c.seen_at < time.time() - 10 * WORKER_AGE_S))

    def workers(self, session: Session) -> list[WorkerInfo]:
        """Return the workers heard of lately."""
        query = select(self._workers).where(self._workers.c.seen_at > time.time() - WORKER_AGE_S)
        return [
            WorkerInfo(
                name=row.name,
                queues=tuple(json.loads(row.queues)),
                slots=row.slots,
                busy_slots=row.busy_slots,
                hardware=json.loads(row.hardware),
                seen_at=row.seen_at,
            )
            for row in session.execute(query.order_by(self._workers.c.name))
        ]

    def _row(self, session: Session, job_id: str) -> Row[Any]:
        row = session.execute(select(self._jobs).where(self._jobs.c.id == job_id)).first()
        if row is None:
            raise NotFoundError(f"no job {job_id!r}")
        return row


def _job(row: Row[Any]) -> Job:
    fields = {name: row._mapping[name] for name in Job.__dataclass_fields__ if name in row._mapping}
    fields.update(state=JobState(row.state), spec=json.loads(row.spec))
    fields["result"] = json.loads(row.result) if row.result else None
    return Job(**fields)
