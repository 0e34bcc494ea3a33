"""Use cases of runs: create, submit, resume, find, finish, delete."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.digest import check_digest, digest_json
from services.common.errors import ConflictError, InvalidError
from services.common.ids import new_id
from services.common.jobs import Job, JobService
from services.common.names import check_name
from services.common.signals import Signal
from services.train_svc.models import ACTIVE, ENDED, Run, RunState
from services.train_svc.repository import registry, runs
from services.train_svc.service.checks import (
    check_json,
    check_line,
    check_optional_digest,
    check_text,
    check_values,
)
from services.train_svc.service.specs import CheckedSpec, check_spec

log = logging.getLogger("modelwright.train")

KIND = "train"
"""The kind of job that carries out a run."""


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What a caller asks for when it submits a training."""

    project: str
    name: str = ""
    spec_json: str = ""
    dataset_digest: str = ""
    queue: str = ""
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a caller says of a run that its own program carries out."""

    project: str
    name: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset_digest: str = ""
    code_version: str = ""
    environment_json: str = ""
    hardware_json: str = ""


class RunService:
    """Keeps runs, and their jobs with them.

    Args:
        database: where the tables are.
        signal: notified with a run's id after each commit that changed it.
        jobs: made with this service's `follow` as its `on_change`.
        default_queue: queue of a training that names none.
    """

    def __init__(self, database: Database, signal: Signal, *, default_queue: str = "cpu") -> None:
        self._database = database
        self._signal = signal
        self._default_queue = default_queue
        self.jobs: JobService

    def create(self, request: RunRequest, idempotency_key: str = "") -> Run:
        """Start a run that somebody else's program carries out; it is RUNNING at once.

        Raises:
            InvalidError: a name, digest or text does not fit.
            ConflictError: the key was used for another request.
        """
        run = self._foreign(request)
        asked = _digest(request, "run")
        with self._database.write() as session:
            if known := self._known(session, run.project, idempotency_key, asked):
                return known
            runs.add_run(session, run, idempotency_key=idempotency_key, request_digest=asked)
            return runs.get_run(session, run.id)

    def check(self, request: TrainRequest) -> CheckedSpec:
        """Check a training without carrying it out; the dataset may be left open.

        Raises:
            InvalidError: names what is wrong in the specification, and where.
        """
        check_name(request.project, "project")
        check_line(request.name, "name")
        check_line(request.queue, "queue", 40)
        check_optional_digest(request.dataset_digest, "dataset_digest")
        return check_spec(check_json(request.spec_json, "spec_json"))

    def submit(self, request: TrainRequest, idempotency_key: str = "") -> tuple[Run, Job]:
        """Make a run and queue its job, both or neither.

        Raises:
            InvalidError: see `check`; and without a dataset there is nothing to train on.
            ConflictError: the key was used for another request.
        """
        spec = self.check(request)
        check_digest(request.dataset_digest, "dataset_digest")
        run = self._ours(request, spec)
        asked = _digest(request, "train")
        with self._database.write() as session:
            if known := self._known(session, run.project, idempotency_key, asked):
                return known, self.jobs.get(known.job_id)
            job = self._queue(session, run, request.queue or self._default_queue, request.priority)
            queued = Run(**{**_fields(run), "job_id": job.id})
            runs.add_run(session, queued, idempotency_key=idempotency_key, request_digest=asked)
            return runs.get_run(session, run.id), job

    def resume(self, run_id: str) -> tuple[Run, Job]:
        """Queue a job that goes on from the run's last checkpoint.

        Raises:
            ConflictError: it is under way, succeeded, or is not carried out by our workers.
        """
        with self._database.write() as session:
            runs.key_of(session, run_id, lock=True)
            run = runs.get_run(session, run_id)
            if not run.job_id:
                raise ConflictError(f"run {run_id} is carried out by another program; only that can resume it")
            if run.state in ACTIVE or run.state is RunState.SUCCEEDED:
                raise ConflictError(f"run {run_id} is {run.state}; only a failed or cancelled run is resumed")
            last = self.jobs.get(run.job_id)
            job = self._queue(session, run, last.queue, last.priority)
            runs.change_run(session, run_id, job_id=job.id, state=RunState.QUEUED, error="", finished_at=0.0)
            self._notify_after(session, run_id)
            return runs.get_run(session, run_id), job

    def get(self, run_id: str) -> Run:
        """Return a run or raise NotFoundError."""
        with self._database.read() as session:
            return runs.get_run(session, run_id)

    def finish(self, run_id: str, state: RunState, error: str = "") -> Run:
        """End a run that somebody else's program carries out; a repeated call changes nothing.

        Raises:
            InvalidError: the state is not an end.
            ConflictError: it ended otherwise, or our workers carry it out.
        """
        if state not in ENDED:
            raise InvalidError(f"a run cannot finish as {state}; give succeeded, failed or cancelled", field="state")
        check_text(error, "error")
        with self._database.write() as session:
            runs.key_of(session, run_id, lock=True)
            run = runs.get_run(session, run_id)
            if run.job_id:
                raise ConflictError(f"run {run_id} ends with its job {run.job_id}; cancel that to stop it")
            if run.state in ENDED and run.state is not state:
                raise ConflictError(f"run {run_id} has ended as {run.state}; it cannot become {state}")
            if run.state not in ENDED:
                runs.change_run(session, run_id, state=state, error=error, finished_at=time.time())
                self._notify_after(session, run_id)
            return runs.get_run(session, run_id)

    def delete(self, run_id: str) -> None:
        """Delete a run with its metrics; its checkpoints and artifacts become collectable.

        Raises:
            ConflictError: its job is under way, or a model version came from it.
        """
        with self._database.write() as session:
            key = runs.key_of(session, run_id, lock=True)
            run = runs.get_run(session, run_id)
            if run.job_id and run.state in ACTIVE:
                raise ConflictError(f"run {run_id} is {run.state}; cancel its job {run.job_id} first")
            if made := registry.versions_of_run(session, run_id):
                which = ", ".join(f"{version.name}/{version.number}" for version in made[:3])
                raise ConflictError(f"model version {which} came from run {run_id}; delete that first")
            runs.delete_run(session, key)
            self.jobs.forget(session, run_id)
            self._notify_after(session, run_id)

    def follow(self, session: Session, job: Job) -> None:
        """Move the run of a job that changed, in the job's own transaction (`on_change` of JobService)."""
        if job.kind != KIND:
            return
        values: dict[str, Any] = {"state": RunState(job.state.value), "error": job.error}
        if job.state.ended:
            values["finished_at"] = job.finished_at
        if job.started_at:
            values["started_at"] = job.started_at
        if job.worker and (hardware := runs.hardware_of(session, job.worker)):
            values["hardware_json"] = hardware
        if runs.change_run_of_job(session, job.subject, job.id, **values):
            self._notify_after(session, job.subject)

    def _foreign(self, request: RunRequest) -> Run:
        run_id, now = new_id("run"), time.time()
        return Run(
            id=run_id,
            project=check_name(request.project, "project"),
            name=check_line(request.name, "name") or run_id,
            state=RunState.RUNNING,
            params=check_values(request.params, "params"),
            tags=check_values(request.tags, "tags"),
            dataset_digest=check_optional_digest(request.dataset_digest, "dataset_digest"),
            code_version=check_text(request.code_version, "code_version"),
            environment_json=_kept_json(request.environment_json, "environment_json"),
            hardware_json=_kept_json(request.hardware_json, "hardware_json"),
            created_at=now,
            started_at=now,
        )

    @staticmethod
    def _ours(request: TrainRequest, spec: CheckedSpec) -> Run:
        run_id = new_id("run")
        return Run(
            id=run_id,
            project=request.project,
            name=request.name or f"{spec.title}-{run_id[-6:]}",
            state=RunState.QUEUED,
            dataset_digest=request.dataset_digest,
            engine=spec.engine,
            seed=spec.seed,
            spec_json=request.spec_json or "{}",
            params=spec.params,
            created_at=time.time(),
        )

    def _queue(self, session: Session, run: Run, queue: str, priority: int) -> Job:
        spec = {"spec": json.loads(run.spec_json), "dataset_digest": run.dataset_digest, "run_id": run.id}
        return self.jobs.submit(
            session, kind=KIND, project=run.project, subject=run.id, queue=queue, spec=spec, priority=priority
        )

    def _known(self, session: Session, project: str, key: str, asked: str) -> Run | None:
        check_line(key, "idempotency_key")
        found = runs.find_request(session, project, key) if key else None
        if found is None:
            return None
        if found[1] != asked:
            raise ConflictError(f"idempotency_key {key!r} was used for another request (run {found[0]}); use a new one")
        return runs.get_run(session, found[0])

    def _notify_after(self, session: Session, run_id: str) -> None:
        event.listen(session, "after_commit", lambda _: self._signal.notify(run_id), once=True)


def _kept_json(text: str, name: str) -> str:
    check_json(text, name)
    return text


def _fields(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.__dataclass_fields__}


def _digest(request: object, kind: str) -> str:
    fields: dict[str, Callable[..., Any] | Any] = dict(vars(request))
    return digest_json({"kind": kind, **{k: dict(v) if isinstance(v, Mapping) else v for k, v in fields.items()}})
