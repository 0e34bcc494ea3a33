"""All SQL of serve_svc. Functions take the session of the caller's transaction."""

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.serve_svc.engine.deployment import (
    ASSIGNED,
    UNSETTLED,
    Assignment,
    Deployment,
    Endpoint,
    ModelVersion,
    PackageFile,
    Report,
    Revision,
    RevisionState,
)
from services.serve_svc.models import DEPLOYMENTS, REPORTS, REVISIONS, SERVERS

ALIVE = DEPLOYMENTS.c.deleted_at.is_(None)


def _revision(row: Any) -> Revision:  # noqa: ANN401 - a row of REVISIONS
    return Revision(
        id=row.id,
        deployment_id=row.deployment_id,
        number=row.number,
        model=ModelVersion(
            name=row.model_name,
            number=row.model_number,
            digest=row.model_digest,
            run_id=row.run_id,
            dataset_digest=row.dataset_digest,
            files=tuple(PackageFile(path=path, digest=digest, size=size) for path, digest, size in row.files),
        ),
        state=RevisionState(row.state),
        error=row.error,
        options_json=row.options_json,
        created_at=row.created_at,
        activated_at=row.activated_at,
    )


def _deployment(row: Any) -> Deployment:  # noqa: ANN401 - a row of DEPLOYMENTS
    return Deployment(id=row.id, project=row.project, name=row.name, model_ref=row.model_ref, created_at=row.created_at)


def find_named(session: Session, name: str) -> Deployment | None:
    """Return the living deployment called `name`, of whatever project, locked until the transaction ends."""
    query = sa.select(DEPLOYMENTS).where(ALIVE, DEPLOYMENTS.c.name == name).with_for_update()
    row = session.execute(query).one_or_none()
    return _deployment(row) if row else None


def read_named(session: Session, name: str) -> Deployment | None:
    """Return the same without a lock."""
    row = session.execute(sa.select(DEPLOYMENTS).where(ALIVE, DEPLOYMENTS.c.name == name)).one_or_none()
    return _deployment(row) if row else None


def deployment_of(session: Session, deployment_id: str) -> Deployment:
    """Return a deployment, deleted or not."""
    return _deployment(session.execute(sa.select(DEPLOYMENTS).where(DEPLOYMENTS.c.id == deployment_id)).one())


def names(session: Session, project: str) -> list[str]:
    """Return the names of a project's deployments."""
    query = sa.select(DEPLOYMENTS.c.name).where(ALIVE, DEPLOYMENTS.c.project == project)
    return list(session.execute(query).scalars())


def list_deployments(session: Session, project: str, after: str, limit: int) -> list[Deployment]:
    """Return deployments by name, those behind `after`; of every project if `project` is empty."""
    query = sa.select(DEPLOYMENTS).where(ALIVE, DEPLOYMENTS.c.name > after)
    if project:
        query = query.where(DEPLOYMENTS.c.project == project)
    return [_deployment(row) for row in session.execute(query.order_by(DEPLOYMENTS.c.name).limit(limit))]


def add_deployment(session: Session, deployment: Deployment) -> None:
    """Insert one, unless another transaction has just taken its name."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(
        insert(DEPLOYMENTS)
        .on_conflict_do_nothing()
        .values(
            id=deployment.id,
            project=deployment.project,
            name=deployment.name,
            model_ref=deployment.model_ref,
            created_at=deployment.created_at,
        )
    )


def set_model_ref(session: Session, deployment_id: str, model_ref: str) -> None:
    """Note what the caller named."""
    session.execute(sa.update(DEPLOYMENTS).where(DEPLOYMENTS.c.id == deployment_id).values(model_ref=model_ref))


def delete_deployment(session: Session, deployment_id: str, now_s: float) -> None:
    """Hide it; its revisions stay for lineage."""
    session.execute(sa.update(DEPLOYMENTS).where(DEPLOYMENTS.c.id == deployment_id).values(deleted_at=now_s))


def add_revision(session: Session, revision: Revision) -> None:
    """Insert one."""
    model = revision.model
    session.execute(
        sa.insert(REVISIONS).values(
            id=revision.id,
            deployment_id=revision.deployment_id,
            number=revision.number,
            model_name=model.name,
            model_digest=model.digest,
            model_number=model.number,
            run_id=model.run_id,
            dataset_digest=model.dataset_digest,
            files=[[file.path, file.digest, file.size] for file in model.files],
            state=revision.state,
            error=revision.error,
            options_json=revision.options_json,
            created_at=revision.created_at,
        )
    )


def set_state(
    session: Session, revision: Revision, state: RevisionState, *, error: str = "", activated_at: float | None = None
) -> None:
    """Write a state that follows; the caller has looked at the table of states."""
    values: dict[str, Any] = {"state": state, "error": error}
    if activated_at is not None:
        values["activated_at"] = activated_at
    session.execute(sa.update(REVISIONS).where(REVISIONS.c.id == revision.id).values(**values))


def revisions(session: Session, deployment_id: str) -> list[Revision]:
    """Return a deployment's revisions, newest first."""
    query = sa.select(REVISIONS).where(REVISIONS.c.deployment_id == deployment_id).order_by(REVISIONS.c.number.desc())
    return [_revision(row) for row in session.execute(query)]


def find_revision(session: Session, revision_id: str) -> Revision | None:
    """Return a revision, also of a deleted deployment."""
    row = session.execute(sa.select(REVISIONS).where(REVISIONS.c.id == revision_id)).one_or_none()
    return _revision(row) if row else None


def assignments(session: Session) -> list[Assignment]:
    """Return what every server shall hold, by deployment, older revisions first."""
    query = (
        sa.select(REVISIONS, DEPLOYMENTS.c.project, DEPLOYMENTS.c.name)
        .join(DEPLOYMENTS, DEPLOYMENTS.c.id == REVISIONS.c.deployment_id)
        .where(ALIVE, REVISIONS.c.state.in_(sorted(ASSIGNED)))
        .order_by(DEPLOYMENTS.c.name, REVISIONS.c.number)
    )
    return [
        Assignment(project=row.project, deployment=row.name, revision=_revision(row)) for row in session.execute(query)
    ]


def unsettled(session: Session) -> list[Revision]:
    """Return the revisions that no server has proven or refused yet."""
    query = (
        sa.select(REVISIONS)
        .join(DEPLOYMENTS, DEPLOYMENTS.c.id == REVISIONS.c.deployment_id)
        .where(ALIVE, REVISIONS.c.state.in_(sorted(UNSETTLED)))
    )
    return [_revision(row) for row in session.execute(query)]


def put_server(session: Session, name: str, endpoint: Endpoint, stream: str, live_until: float) -> None:
    """Note a server that has connected. It may be a new process, so it must prove what is not settled again."""
    unproven = sa.select(REVISIONS.c.id).where(REVISIONS.c.state.in_(sorted(UNSETTLED)))
    session.execute(sa.delete(SERVERS).where(SERVERS.c.name == name))
    session.execute(sa.delete(REPORTS).where(REPORTS.c.server == name, REPORTS.c.revision_id.in_(unproven)))
    session.execute(
        sa.insert(SERVERS).values(
            name=name,
            rest_url=endpoint.rest_url,
            grpc_address=endpoint.grpc_address,
            stream=stream,
            live_until=live_until,
        )
    )


def keep_server(session: Session, name: str, stream: str, live_until: float) -> None:
    """Move a server's end of life, if `stream` still speaks for it."""
    where = (SERVERS.c.name == name) & (SERVERS.c.stream == stream)
    session.execute(sa.update(SERVERS).where(where).values(live_until=live_until))


def live_servers(session: Session, now_s: float) -> dict[str, Endpoint]:
    """Return the endpoints of the servers that live, by name."""
    query = sa.select(SERVERS).where(SERVERS.c.live_until > now_s).order_by(SERVERS.c.name)
    return {row.name: Endpoint(rest_url=row.rest_url, grpc_address=row.grpc_address) for row in session.execute(query)}


def carriers(session: Session, now_s: float) -> dict[str, tuple[Endpoint, ...]]:
    """Return, by revision, the endpoints of the live servers that have it."""
    query = (
        sa.select(REPORTS.c.revision_id, SERVERS.c.rest_url, SERVERS.c.grpc_address)
        .join(SERVERS, SERVERS.c.name == REPORTS.c.server)
        .where(SERVERS.c.live_until > now_s, REPORTS.c.state == RevisionState.READY)
        .order_by(SERVERS.c.name)
    )
    found: dict[str, tuple[Endpoint, ...]] = {}
    for row in session.execute(query):
        endpoint = Endpoint(rest_url=row.rest_url, grpc_address=row.grpc_address)
        found[row.revision_id] = tuple(dict.fromkeys((*found.get(row.revision_id, ()), endpoint)))
    return found


def put_report(session: Session, revision_id: str, report: Report) -> None:
    """Note what a server says of a revision."""
    where = (REPORTS.c.server == report.server) & (REPORTS.c.revision_id == revision_id)
    session.execute(sa.delete(REPORTS).where(where))
    session.execute(
        sa.insert(REPORTS).values(server=report.server, revision_id=revision_id, state=report.state, error=report.error)
    )


def reports(session: Session, revision_id: str) -> list[Report]:
    """Return what servers said of a revision."""
    query = sa.select(REPORTS).where(REPORTS.c.revision_id == revision_id)
    return [
        Report(server=row.server, state=RevisionState(row.state), error=row.error) for row in session.execute(query)
    ]


def referenced_digests(session: Session, page: int = 500) -> Iterator[Iterable[str]]:
    """Yield, in pages, the blobs of every revision of a living deployment."""
    query = (
        sa.select(REVISIONS.c.files)
        .join(DEPLOYMENTS, DEPLOYMENTS.c.id == REVISIONS.c.deployment_id)
        .where(ALIVE)
        .execution_options(yield_per=page)
    )
    for rows in session.execute(query).scalars().partitions(page):
        yield sorted({digest for files in rows for _, digest, _ in files})
