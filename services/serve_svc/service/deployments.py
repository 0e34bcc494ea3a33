"""Making, moving, rolling back and deleting deployments."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.errors import ConflictError, InvalidError, NotFoundError
from services.common.ids import new_id
from services.common.names import check_name, nearest
from services.common.paging import decode_token, encode_token, page_limit
from services.common.signals import Signal
from services.serve_svc import repository
from services.serve_svc.engine.deployment import Deployment, ModelVersion, Revision, RevisionState
from services.serve_svc.engine.options import parse_options
from services.serve_svc.service.views import CHANGES, carriers, dressed, retire, settle, superseded, view

GRAPH = "model.onnx"


class Registry(Protocol):
    """Where references to models are resolved."""

    def resolve(self, project: str, ref: str) -> ModelVersion:
        """Return the version that `ref` names now, or raise NotFoundError."""
        ...


class Deployments:
    """Use cases of those who deploy.

    Args:
        database: of the service.
        registry: resolves model references.
        signal: wakes watchers.
        watch_interval_s: how often watchers look for changes made elsewhere.
    """

    def __init__(self, database: Database, registry: Registry, signal: Signal, *, watch_interval_s: float) -> None:
        self._database = database
        self._registry = registry
        self._signal = signal
        self._watch_interval_s = watch_interval_s

    def apply(self, project: str, name: str, model_ref: str, options_json: str) -> Deployment:
        """Make the deployment or move it to the version that `model_ref` names now.

        The version and options that are active, or on their way, make no new revision.
        """
        options = self.check(project, name, model_ref, options_json)
        if not model_ref:
            raise InvalidError("model_ref is empty; name a version such as models:/digits@champion", field="model_ref")
        model = self._registry.resolve(project, model_ref)
        if GRAPH not in {file.path for file in model.files}:
            raise InvalidError(f"{model_ref} holds no {GRAPH}, so it cannot be served; export it", field="model_ref")
        with self._database.write() as session:
            deployment = self._claim(session, project, name, model_ref)
            self._move_to(session, deployment, model, options)
            found = view(session, deployment)
        self._signal.notify(CHANGES)
        return found

    def check(self, project: str, name: str, model_ref: str, options_json: str) -> str:
        """Check a request without carrying it out; return its options in one canonical form."""
        check_name(project, "project")
        check_name(name, "name")
        if any(character.isspace() or not character.isprintable() for character in model_ref):
            raise InvalidError(f"model_ref {model_ref!r} holds blanks or control characters", field="model_ref")
        try:
            options = json.loads(options_json or "{}")
        except ValueError as error:
            raise InvalidError(f"options are no JSON: {error}", field="options") from error
        parse_options(options)
        with self._database.read() as session:
            self._check_owner(repository.read_named(session, name), project)
        return json.dumps(options, sort_keys=True, separators=(",", ":"))

    def get(self, project: str, name: str) -> Deployment:
        """Return a deployment."""
        with self._database.read() as session:
            return view(session, self._owned(session, project, name, repository.read_named(session, name)))

    def page(self, project: str, page_size: int, page_token: str) -> tuple[list[Deployment], str]:
        """Return a page of a project's deployments (of all if it is empty) and the next page's token."""
        limit, query = page_limit(page_size), {"deployments": project}
        after = decode_token(page_token, query)
        with self._database.read() as session:
            found = repository.list_deployments(session, project, str(after[0]) if after else "", limit + 1)
            carried = carriers(session)
            page = [dressed(one, repository.revisions(session, one.id), carried) for one in found[:limit]]
        return page, encode_token([page[-1].name], query) if len(found) > limit else ""

    def watch(self, project: str, name: str, is_wanted: Callable[[], bool]) -> Iterator[Deployment]:
        """Yield the deployment now and after each change, until it is deleted or nobody wants more."""
        last: Deployment | None = None
        while is_wanted():
            seen = self._signal.count(CHANGES)
            try:
                found = self.get(project, name)
            except NotFoundError:
                if last is None:
                    raise
                return
            if found != last:
                yield found
            last = found
            self._signal.wait(CHANGES, seen, self._watch_interval_s)

    def rollback(self, project: str, name: str, number: int) -> Deployment:
        """Go back to a revision (0: the one that was active before) by a new revision that repeats it."""
        with self._database.write() as session:
            deployment = self._owned(session, project, name, repository.find_named(session, name))
            target = self._target(repository.revisions(session, deployment.id), name, number)
            repository.set_model_ref(session, deployment.id, f"models:/{target.model.name}/{target.model.number}")
            self._move_to(session, deployment, target.model, target.options_json)
            found = view(session, self._owned(session, project, name, repository.read_named(session, name)))
        self._signal.notify(CHANGES)
        return found

    def delete(self, project: str, name: str) -> None:
        """Take a deployment off; its name is free again, its revisions stay known to lineage."""
        with self._database.write() as session:
            deployment = self._owned(session, project, name, repository.find_named(session, name))
            retire(session, repository.revisions(session, deployment.id))
            repository.delete_deployment(session, deployment.id, time.time())
        self._signal.notify(CHANGES)

    def revisions(self, project: str, name: str) -> list[Revision]:
        """Return a deployment's revisions, newest first."""
        with self._database.read() as session:
            deployment = self._owned(session, project, name, repository.read_named(session, name))
            return repository.revisions(session, deployment.id)

    def revision(self, revision_id: str) -> tuple[Revision, Deployment]:
        """Return a revision and its deployment, deleted or not."""
        with self._database.read() as session:
            found = repository.find_revision(session, revision_id)
            if found is None:
                raise NotFoundError(f"there is no revision {revision_id!r}")
            return found, view(session, repository.deployment_of(session, found.deployment_id))

    def references(self) -> Iterator[list[str]]:
        """Yield the blobs that served models need."""
        with self._database.read() as session:
            for digests in repository.referenced_digests(session):
                yield [*digests]

    def _claim(self, session: Session, project: str, name: str, model_ref: str) -> Deployment:
        """Return the deployment called `name`, made if need be, locked for this transaction."""
        found = repository.find_named(session, name)
        if found is None:
            new = Deployment(id=new_id("dep"), project=project, name=name, model_ref=model_ref, created_at=time.time())
            repository.add_deployment(session, new)
            found = repository.find_named(session, name)
        self._check_owner(found, project)
        if found is None:
            raise ConflictError(f"deployment {name!r} was deleted at the same moment; try again")
        if found.model_ref != model_ref:
            repository.set_model_ref(session, found.id, model_ref)
        return found

    def _move_to(self, session: Session, deployment: Deployment, model: ModelVersion, options: str) -> None:
        history = repository.revisions(session, deployment.id)
        now = dressed(deployment, history, {})
        for current in (now.desired, now.active):
            if current and current.state is not RevisionState.FAILED and _same(current, model, options):
                retire(session, (r for r in superseded(history) if r.number > current.number))
                return
        retire(session, superseded(history))
        repository.add_revision(
            session,
            Revision(
                id=new_id("rev"),
                deployment_id=deployment.id,
                number=history[0].number + 1 if history else 1,
                model=model,
                state=RevisionState.PENDING,
                options_json=options,
                created_at=time.time(),
            ),
        )
        settle(session)

    def _target(self, history: list[Revision], name: str, number: int) -> Revision:
        if number:
            for revision in history:
                if revision.number == number:
                    return revision
            raise NotFoundError(f"deployment {name!r} has no revision {number}; the newest is {history[0].number}")
        before = [r for r in history if r.state is RevisionState.RETIRED and r.activated_at is not None]
        if not before:
            raise ConflictError(f"deployment {name!r} has no earlier revision that was active; nothing to go back to")
        return max(before, key=lambda revision: revision.activated_at or 0.0)

    def _owned(self, session: Session, project: str, name: str, found: Deployment | None) -> Deployment:
        if found is None or found.project != project:
            hint = nearest(name, repository.names(session, project))
            raise NotFoundError(f"project {project!r} has no deployment {name!r}{hint}")
        return found

    def _check_owner(self, found: Deployment | None, project: str) -> None:
        if found and found.project != project:
            raise ConflictError(
                f"the name {found.name!r} is taken by a deployment of project {found.project!r}; names are those of "
                "the inference protocol, which knows no projects, so choose another"
            )


def _same(revision: Revision, model: ModelVersion, options: str) -> bool:
    kept = (revision.model.digest, revision.model.name, revision.model.number, revision.options_json)
    return kept == (model.digest, model.name, model.number, options)
