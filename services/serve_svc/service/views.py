"""A deployment as callers see it, and the changes of state that several use cases make."""

import dataclasses
import time
from collections.abc import Iterable, Mapping

from sqlalchemy.orm import Session

from services.serve_svc import repository
from services.serve_svc.engine.deployment import NEXT, UNSETTLED, Deployment, Endpoint, Revision, RevisionState, judge

CHANGES = "deployments"
"""The topic on which watchers are woken."""


Carriers = Mapping[str, tuple[Endpoint, ...]]


def view(session: Session, deployment: Deployment) -> Deployment:
    """Return the deployment with its revisions and the endpoints that carry it now."""
    return dressed(deployment, repository.revisions(session, deployment.id), carriers(session))


def dressed(deployment: Deployment, revisions: Iterable[Revision], carriers: Carriers) -> Deployment:
    """Return the deployment with its active and its desired revision; `revisions` are newest first."""
    kept = [revision for revision in revisions if revision.state is not RevisionState.RETIRED]
    active = next((revision for revision in kept if revision.state is RevisionState.READY), None)
    endpoints = carriers.get(active.id, ()) if active else ()
    return dataclasses.replace(deployment, active=active, desired=kept[0] if kept else None, endpoints=endpoints)


def carriers(session: Session) -> Carriers:
    """Return, by revision, where the live servers that have it are reached."""
    return repository.carriers(session, time.time())


def move(session: Session, revision: Revision, state: RevisionState, error: str = "") -> None:
    """Change a revision's state if the table of states allows it; a READY one retires those before it."""
    if state not in NEXT[revision.state]:
        return
    now_s = time.time() if state is RevisionState.READY else None
    if state is RevisionState.READY:
        retire(
            session, (r for r in repository.revisions(session, revision.deployment_id) if r.number < revision.number)
        )
    repository.set_state(session, revision, state, error=error, activated_at=now_s)


def retire(session: Session, revisions: Iterable[Revision]) -> None:
    """Take revisions off; those that failed keep their error for whoever asks later."""
    for revision in revisions:
        if RevisionState.RETIRED in NEXT[revision.state]:
            repository.set_state(session, revision, RevisionState.RETIRED, error=revision.error)


def settle(session: Session) -> bool:
    """Judge every unsettled revision by what the live servers report; say whether anything changed."""
    live = set(repository.live_servers(session, time.time()))
    changed = False
    for revision in repository.unsettled(session):
        state, error = judge(revision.state, live, repository.reports(session, revision.id))
        if state is not revision.state:
            move(session, revision, state, error)
            changed = True
    return changed


def superseded(revisions: Iterable[Revision]) -> list[Revision]:
    """Return the revisions that a new one makes pointless: unsettled or failed."""
    return [r for r in revisions if r.state in UNSETTLED or r.state is RevisionState.FAILED]
