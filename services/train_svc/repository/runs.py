"""SQL of runs, with their parameters, tags and last metrics."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.orm import Session

from services.common.errors import NotFoundError
from services.train_svc.models import JOBS, Point, Run, RunState
from services.train_svc.models.tables import (
    HEAD_CHARS,
    artifact_files,
    checkpoint_files,
    metric_last,
    metric_points,
    names,
    run_values,
    runs,
)
from services.train_svc.repository.names import intern_names

COLUMNS = (
    "id", "project", "name", "state", "dataset_digest", "engine", "seed", "code_version", "environment_json",
    "hardware_json", "spec_json", "job_id", "error", "created_at", "started_at", "finished_at",
)  # fmt: skip


def add_run(session: Session, run: Run, *, idempotency_key: str, request_digest: str) -> int:
    """Insert a run with its parameters and tags and return its key."""
    values = {name: getattr(run, name) for name in COLUMNS}
    values["state"] = run.state.value
    made = insert(runs).values(**values, idempotency_key=idempotency_key or None, request_digest=request_digest)
    key = session.scalar(made.returning(runs.c.key))
    assert key is not None
    put_values(session, run.project, key, "param", run.params)
    put_values(session, run.project, key, "tag", run.tags)
    return int(key)


def find_request(session: Session, project: str, idempotency_key: str) -> tuple[str, str] | None:
    """Return (run id, digest of the request) that a key was used for."""
    where = (runs.c.project == project, runs.c.idempotency_key == idempotency_key)
    row = session.execute(select(runs.c.id, runs.c.request_digest).where(*where)).first()
    return (row[0], row[1]) if row else None


def key_of(session: Session, run_id: str, *, lock: bool = False) -> int:
    """Return a run's key, locked against other writers if asked, or raise NotFoundError."""
    query = select(runs.c.key).where(runs.c.id == run_id)
    key = session.scalar(query.with_for_update() if lock else query)
    if key is None:
        raise NotFoundError(f"no run {run_id!r}")
    return int(key)


def get_run(session: Session, run_id: str) -> Run:
    """Return a run or raise NotFoundError."""
    return load_runs(session, [key_of(session, run_id)])[0]


def load_runs(session: Session, keys: Sequence[int]) -> list[Run]:
    """Return whole runs in the order of their keys given: four statements for any number of them."""
    rows = {row.key: row for row in session.execute(select(runs).where(runs.c.key.in_(keys)))}
    params, tags = _values(session, keys)
    metrics = last_points(session, keys)
    return [
        _run(rows[key], params=params.get(key, {}), tags=tags.get(key, {}), metrics=metrics.get(key, {}))
        for key in keys
        if key in rows
    ]


def last_points(session: Session, keys: Sequence[int]) -> dict[int, dict[str, Point]]:
    """Return of each run the last point of each metric."""
    last = metric_last.c
    query = select(last.run_key, names.c.name, last.step, last.value, last.time).join(names, names.c.id == last.name_id)
    found: dict[int, dict[str, Point]] = {}
    for key, name, step, value, time in session.execute(query.where(last.run_key.in_(keys)).order_by(names.c.name)):
        found.setdefault(key, {})[name] = Point(name, step, math.nan if value is None else value, time)
    return found


def change_run(session: Session, run_id: str, **values: Any) -> None:  # noqa: ANN401 - column values
    """Set columns of a run."""
    if "state" in values:
        values["state"] = RunState(values["state"]).value
    session.execute(update(runs).where(runs.c.id == run_id).values(**values))


def change_run_of_job(session: Session, run_id: str, job_id: str, **values: Any) -> bool:  # noqa: ANN401 - column values
    """Set columns of a run unless a later job carries it out by now; return whether they were set."""
    values["state"] = RunState(values["state"]).value
    change = update(runs).where(runs.c.id == run_id, runs.c.job_id == job_id).values(**values)
    return session.scalar(change.returning(runs.c.key)) is not None


def hardware_of(session: Session, worker: str) -> str:
    """Return what a worker said of its machine, JSON; empty if it said nothing."""
    known = session.scalar(select(JOBS.workers.c.hardware).where(JOBS.workers.c.name == worker))
    return known if known and known != "{}" else ""


def put_values(session: Session, project: str, run_key: int, kind: str, values: dict[str, str]) -> None:
    """Set parameters (`param`) or tags (`tag`) of a run."""
    if not values:
        return
    ids = intern_names(session, ((project, kind, name) for name in values))
    rows = [
        {"run_key": run_key, "name_id": ids[project, kind, name], "head": value[:HEAD_CHARS], "value": value}
        for name, value in values.items()
    ]
    replaced = [row["name_id"] for row in rows]
    session.execute(delete(run_values).where(run_values.c.run_key == run_key, run_values.c.name_id.in_(replaced)))
    session.execute(insert(run_values), rows)


def params_of(session: Session, run_key: int) -> dict[str, str]:
    """Return a run's parameters."""
    return _values(session, [run_key])[0].get(run_key, {})


def delete_run(session: Session, run_key: int) -> None:
    """Delete a run and everything logged of it."""
    for table in (metric_points, metric_last, run_values, checkpoint_files, artifact_files):
        session.execute(delete(table).where(table.c.run_key == run_key))
    session.execute(delete(runs).where(runs.c.key == run_key))


def runs_on(session: Session, project: str, dataset_digest: str) -> list[str]:
    """Return the ids of the runs that used a dataset version, oldest first."""
    where = (runs.c.project == project, runs.c.dataset_digest == dataset_digest)
    return list(session.scalars(select(runs.c.id).where(*where).order_by(runs.c.key)))


def _values(session: Session, keys: Iterable[int]) -> tuple[dict[int, dict[str, str]], dict[int, dict[str, str]]]:
    value = run_values.c
    query = select(value.run_key, names.c.kind, names.c.name, value.value).join(names, names.c.id == value.name_id)
    params: dict[int, dict[str, str]] = {}
    tags: dict[int, dict[str, str]] = {}
    for key, kind, name, text in session.execute(query.where(value.run_key.in_(list(keys))).order_by(names.c.name)):
        (params if kind == "param" else tags).setdefault(key, {})[name] = text
    return params, tags


def _run(row: Row[Any], *, params: dict[str, str], tags: dict[str, str], metrics: dict[str, Point]) -> Run:
    fields = {name: row._mapping[name] for name in COLUMNS}
    fields["state"] = RunState(row.state)
    return Run(**fields, params=params, tags=tags, metrics=metrics)
