"""All SQL on lifecycles and their stages. The caller's session is the transaction."""

import time
from typing import Any

import orjson
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from gateway.lifecycles.spec import LifecycleSpec
from gateway.lifecycles.states import (
    CANCELLED,
    ENDED,
    LIFECYCLE_MOVES,
    PENDING,
    RUNNING,
    STAGE_MOVES,
    check_move,
)
from gateway.models import Lifecycle, Stage, StageResult
from services.common.errors import BusyError, ConflictError, NotFoundError
from services.common.ids import new_id
from services.common.names import nearest
from services.common.paging import decode_token, encode_token, page_limit


def create(session: Session, spec: LifecycleSpec, *, actor: str, limit: int) -> tuple[Lifecycle, bool]:
    """Return the lifecycle that carries out `spec`, and whether it is new: one that runs already is given again.

    Raises:
        BusyError: `limit` lifecycles run.
    """
    key = f"{spec.project}/{spec.name}/{spec.digest}"
    found = _running(session, key)
    if found:
        return found, False
    _check_room(session, limit)
    row = Lifecycle(
        id=new_id("lif"),
        project=spec.project,
        name=spec.name,
        spec_digest=spec.digest,
        document=orjson.dumps(spec.document.value).decode(),
        state=RUNNING,
        error="",
        actor=actor,
        cancel_requested=0,
        running_key=key,
        created_at=time.time(),
        stages=[_new_stage(name, position) for position, name in enumerate(spec.stages)],
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        found = _running(session, key)
        if not found:
            raise
        return found, False
    return row, True


def get(session: Session, project: str, lifecycle_id: str) -> Lifecycle:
    """Return a lifecycle with its stages."""
    row = session.get(Lifecycle, lifecycle_id)
    if row is None or (project and row.project != project):
        raise NotFoundError(f"project {project!r} has no lifecycle {lifecycle_id!r}; list those there are")
    return row


def page(session: Session, project: str, *, page_size: int, page_token: str) -> tuple[list[Lifecycle], str]:
    """Return lifecycles, newest first, and the token of the next page (empty: there is none)."""
    query: dict[str, Any] = {"lifecycles": project}
    limit = page_limit(page_size)
    after = decode_token(page_token, query)
    statement = select(Lifecycle).order_by(Lifecycle.id.desc()).limit(limit + 1)
    if project:
        statement = statement.where(Lifecycle.project == project)
    if after:
        statement = statement.where(Lifecycle.id < str(after[0]))
    rows = list(session.scalars(statement))
    more = len(rows) > limit
    return rows[:limit], encode_token([rows[limit - 1].id], query) if more else ""


def running_ids(session: Session) -> list[str]:
    """Return what was under way, oldest first: what a restarted gateway takes up again."""
    return list(session.scalars(select(Lifecycle.id).where(Lifecycle.state == RUNNING).order_by(Lifecycle.id)))


def begin_stage(session: Session, lifecycle_id: str, name: str, input_digest: str) -> Stage:
    """Note that a stage runs; called again after a restart of the gateway it changes nothing."""
    row = stage(session, lifecycle_id, name)
    row.state = check_move(STAGE_MOVES, row.state, RUNNING, f"stage {name}")
    row.started_at = row.started_at or time.time()
    row.input_digest = input_digest
    return row


def note_job(session: Session, lifecycle_id: str, name: str, job_id: str) -> None:
    """Note the job that carries a stage out."""
    stage(session, lifecycle_id, name).job_id = job_id


def end_stage(
    session: Session, lifecycle_id: str, name: str, state: str, *, result: dict[str, Any] | None = None, error: str = ""
) -> None:
    """Note how a stage ended; a result of work is kept for reuse under the stage's input digest."""
    row = stage(session, lifecycle_id, name)
    row.state = check_move(STAGE_MOVES, row.state, state, f"stage {name}")
    row.finished_at = time.time()
    row.error = error
    if result is not None:
        row.result = orjson.dumps(result).decode()
        _keep_result(session, lifecycle_id, row)


def kept_result(session: Session, project: str, name: str, input_digest: str) -> dict[str, Any] | None:
    """Return what the stage gave for these inputs before, or None."""
    row = session.get(StageResult, (project, name, input_digest))
    return dict(orjson.loads(row.result)) if row else None


def end(session: Session, lifecycle_id: str, state: str, error: str = "") -> None:
    """Note how a lifecycle ended; what had not begun stays as it is, or is cancelled with it."""
    row = get(session, "", lifecycle_id)
    row.state = check_move(LIFECYCLE_MOVES, row.state, state, "the lifecycle")
    row.error = error
    row.running_key = None
    row.finished_at = time.time()
    if state == CANCELLED:
        for one in row.stages:
            if one.state in (PENDING, RUNNING):
                one.state = check_move(STAGE_MOVES, one.state, CANCELLED, f"stage {one.name}")
                one.finished_at = time.time()


def request_cancel(session: Session, project: str, lifecycle_id: str) -> Lifecycle:
    """Note that a lifecycle shall stop; one that has ended stays as it is."""
    row = get(session, project, lifecycle_id)
    if row.state == RUNNING:
        row.cancel_requested = 1
    return row


def restart(session: Session, project: str, lifecycle_id: str, from_stage: str, limit: int) -> Lifecycle:
    """Put a stage and all behind it back, to be run anew; the named one even if a kept result fits.

    Raises:
        ConflictError: the lifecycle, or another of the same document, is running.
        NotFoundError: it has no such stage.
    """
    row = get(session, project, lifecycle_id)
    if row.state not in ENDED:
        raise ConflictError(f"lifecycle {lifecycle_id} is running; cancel it first or wait for its end")
    names = [one.name for one in row.stages]
    wanted = from_stage or next((one.name for one in row.stages if one.state not in ("succeeded", "reused")), names[0])
    if wanted not in names:
        raise NotFoundError(f"the lifecycle has no stage {wanted!r}{nearest(wanted, names) or ': ' + ', '.join(names)}")
    key = f"{row.project}/{row.name}/{row.spec_digest}"
    other = _running(session, key)
    if other:
        raise ConflictError(f"the same document runs already as {other.id}; follow that one")
    _check_room(session, limit)
    row.state = check_move(LIFECYCLE_MOVES, row.state, RUNNING, "the lifecycle")
    row.running_key, row.cancel_requested, row.error, row.finished_at = key, 0, "", None
    for one in row.stages[names.index(wanted) :]:
        _reset(one, fresh=one.name == wanted)
    return row


def stage(session: Session, lifecycle_id: str, name: str) -> Stage:
    """Return one stage."""
    row = session.get(Stage, (lifecycle_id, name))
    if row is None:
        raise NotFoundError(f"lifecycle {lifecycle_id} has no stage {name!r}")
    return row


def _running(session: Session, key: str) -> Lifecycle | None:
    return session.scalar(select(Lifecycle).where(Lifecycle.running_key == key))


def _check_room(session: Session, limit: int) -> None:
    running = session.scalar(select(func.count()).select_from(Lifecycle).where(Lifecycle.state == RUNNING)) or 0
    if running >= limit:
        raise BusyError(f"{running} lifecycles run already; wait for one to end or cancel one", retry_after_s=10)


def _new_stage(name: str, position: int) -> Stage:
    return Stage(
        name=name, position=position, state=PENDING, attempt=1, fresh=0, input_digest="", job_id="", result="", error=""
    )


def _reset(row: Stage, *, fresh: bool) -> None:
    row.state = check_move(STAGE_MOVES, row.state, PENDING, f"stage {row.name}")
    row.attempt += 1
    row.fresh = int(fresh)
    row.job_id = row.result = row.error = row.input_digest = ""
    row.started_at = row.finished_at = None


def _keep_result(session: Session, lifecycle_id: str, row: Stage) -> None:
    if row.state != "succeeded":
        return
    project = session.scalar(select(Lifecycle.project).where(Lifecycle.id == lifecycle_id)) or ""
    session.merge(
        StageResult(
            project=project,
            stage=row.name,
            input_digest=row.input_digest,
            result=row.result,
            lifecycle_id=lifecycle_id,
            created_at=time.time(),
        )
    )
