"""Use cases of the registry: immutable versions by digest, aliases with their history."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Protocol

from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.digest import check_digest, digest_json
from services.common.errors import ConflictError, InvalidError, NotFoundError
from services.common.jobs import Job, Lease
from services.common.names import check_name, nearest
from services.common.paging import decode_token, encode_token, page_limit
from services.train_svc.models import AliasEvent, Lineage, Model, ModelVersion, Run
from services.train_svc.repository import registry, runs
from services.train_svc.service.checks import check_files, check_json, check_line, check_optional_digest, check_text
from services.train_svc.service.lineage import trace
from services.train_svc.service.refs import Ref, parse_ref

CARD, SIGNATURE = "card.json", "signature.json"
MAX_CARD_BYTES = 1 << 20


class Blobs(Protocol):
    """The shared storage, as far as the registry looks into it."""

    def exists(self, digest: str) -> bool:
        """Return whether the bytes are there."""

    def read(self, digest: str) -> bytes:
        """Return the bytes."""


class RegistryService:
    """Keeps models.

    Args:
        database: where the tables are.
        check_lease: raises StaleLeaseError for an old lease (`JobService.check_lease`).
        blobs: where packages' files must be; None: they are not looked for.
    """

    def __init__(
        self, database: Database, check_lease: Callable[[Session, Lease], Job], blobs: Blobs | None = None
    ) -> None:
        self._database = database
        self._check_lease = check_lease
        self._blobs = blobs

    def create(self, asked: ModelVersion, lease: Lease | None = None) -> ModelVersion:
        """Register a package; the same package under the same name is the version that is there.

        An empty digest is worked out; run and dataset are taken over from the parent, the dataset from the run;
        card and signature are read from the package where they are not given.

        Raises:
            InvalidError: a name, path or digest is unsound, a file is not in the storage, or run or parent
                are unknown.
            StaleLeaseError: the lease is old.
        """
        checked = self._checked(asked)
        with self._database.read() as session:
            known = registry.find_by_digest(session, checked.project, checked.digest, checked.name)
        filled = checked if known else self._with_contents(checked)
        with self._database.write() as session:
            if lease:
                self._check_lease(session, lease)
            registry.lock_model(session, filled.project, filled.name, create=True)
            known = registry.find_by_digest(session, filled.project, filled.digest, filled.name)
            return known or registry.add_version(session, self._with_origin(session, filled))

    def get(self, project: str, ref: str) -> ModelVersion:
        """Return the version that a reference names; raise NotFoundError, with the nearest name, if none does."""
        with self._database.read() as session:
            return self._resolve(session, project, parse_ref(ref))

    def models(self, project: str, page_size: int, page_token: str) -> tuple[list[Model], str]:
        """Return a page of models by name, and the token of the next."""
        query = {"project": project, "list": "models"}
        after, limit = decode_token(page_token, query), page_limit(page_size)
        with self._database.read() as session:
            names = registry.page_model_names(session, project, after[0] if after else None, limit + 1)
            found = [registry.get_model(session, project, name) for name in names[:limit]]
        return found, encode_token([names[limit - 1]], query) if len(names) > limit else ""

    def versions(self, project: str, name: str, page_size: int, page_token: str) -> tuple[list[ModelVersion], str]:
        """Return a page of a model's versions, newest first, and the token of the next."""
        query = {"project": project, "versions": name}
        after, limit = decode_token(page_token, query), page_limit(page_size)
        with self._database.read() as session:
            found = registry.page_versions(session, project, name, after[0] if after else None, limit + 1)
            if not found and not after:
                raise self._no_model(session, project, name)
        return found[:limit], encode_token([found[limit - 1].number], query) if len(found) > limit else ""

    def delete(self, project: str, ref: str) -> None:
        """Delete a version; its files become collectable.

        Raises:
            ConflictError: an alias points at it, or another version was made from it.
            InvalidError: a digest that several models have.
        """
        parsed = parse_ref(ref)
        with self._database.write() as session:
            gone = self._resolve(session, project, parsed)
            registry.lock_model(session, project, gone.name)
            gone = self._resolve(session, project, Ref(name=gone.name, number=gone.number))
            self._check_deletable(session, gone, by_digest=bool(parsed.digest))
            registry.delete_version(session, gone)

    def set_alias(
        self, project: str, name: str, alias: str, digest: str, *, actor: str, reason: str, expected: str | None = None
    ) -> Model:
        """Point an alias at a version of its model; pointing it where it points keeps no event.

        Args:
            project: of the model.
            name: of the model.
            alias: such as `champion`.
            digest: of the version.
            actor: who asks.
            reason: why.
            expected: if not None, the digest that the alias must point at now; empty: at none.

        Raises:
            NotFoundError: the model has no such version.
            ConflictError: the alias points elsewhere than expected.
        """
        _check_alias(alias)
        check_digest(digest, "digest")
        with self._database.write() as session:
            now = self._locked_aliases(session, project, name).get(alias, "")
            if expected is not None and expected != now:
                points = f"points at {now}" if now else "does not exist"
                raise ConflictError(f"alias {alias!r} of {name} {points}, not at {expected or 'nothing'}; look again")
            if registry.find_by_digest(session, project, digest, name) is None:
                raise NotFoundError(f"model {name!r} has no version {digest}")
            if now != digest:
                registry.move_alias(session, project, name, _event(alias, now, digest, actor, reason))
            return registry.get_model(session, project, name)

    def delete_alias(self, project: str, name: str, alias: str, *, actor: str, reason: str) -> Model:
        """Take an alias away; raise NotFoundError if there is none."""
        with self._database.write() as session:
            now = self._locked_aliases(session, project, name)
            if alias not in now:
                raise NotFoundError(f"model {name!r} has no alias {alias!r}{nearest(alias, now)}")
            registry.move_alias(session, project, name, _event(alias, now[alias], "", actor, reason))
            return registry.get_model(session, project, name)

    def alias_events(self, project: str, name: str) -> list[AliasEvent]:
        """Return who moved the model's aliases, newest first."""
        with self._database.read() as session:
            found = registry.events_of(session, project, name)
            if not found:
                self._check_model(session, project, name)
        return found

    def lineage(self, project: str, node_id: str) -> Lineage:
        """Return what a dataset version, run or model version came from and led to."""
        with self._database.read() as session:
            return trace(session, project, node_id)

    def _checked(self, asked: ModelVersion) -> ModelVersion:
        check_name(asked.project, "project")
        check_name(asked.name, "name")
        check_name(asked.variant, "variant")
        files = check_files(asked.files, "files")
        digest = digest_json({file.path: file.digest for file in files})
        if asked.digest not in ("", digest):
            raise InvalidError(f"digest {asked.digest} is not that of the files given, {digest}", field="digest")
        check_json(asked.card_json, "card_json")
        check_json(asked.signature_json, "signature_json")
        check_line(asked.run_id, "run_id", 40)
        check_optional_digest(asked.parent, "parent")
        check_optional_digest(asked.dataset_digest, "dataset_digest")
        if asked.parent == digest:
            raise InvalidError("a version cannot be its own parent", field="parent")
        return replace(asked, digest=digest, files=files)

    def _with_contents(self, asked: ModelVersion) -> ModelVersion:
        """Return the version with card and signature, having seen that every file is in the storage."""
        if self._blobs is None:
            return asked
        if missing := [file.path for file in asked.files if not self._blobs.exists(file.digest)]:
            named = ", ".join(missing[:5])
            raise InvalidError(
                f"{len(missing)} files are not in the storage: {named}; upload them first", field="files"
            )
        return replace(
            asked,
            card_json=asked.card_json or self._text(asked, CARD),
            signature_json=asked.signature_json or self._text(asked, SIGNATURE),
        )

    def _text(self, asked: ModelVersion, path: str) -> str:
        file = next((file for file in asked.files if PurePosixPath(file.path) == PurePosixPath(path)), None)
        if file is None or self._blobs is None:
            return ""
        if file.size > MAX_CARD_BYTES:
            raise InvalidError(f"{path} has {file.size} bytes; at most {MAX_CARD_BYTES} are read", field="files")
        text = self._blobs.read(file.digest).decode(errors="replace")
        check_json(text, path)
        return text

    @staticmethod
    def _with_origin(session: Session, asked: ModelVersion) -> ModelVersion:
        parent = registry.find_by_digest(session, asked.project, asked.parent) if asked.parent else None
        if asked.parent and parent is None:
            raise InvalidError(
                f"parent {asked.parent} is no version in {asked.project}; register it first", field="parent"
            )
        run_id = asked.run_id or (parent.run_id if parent else "")
        run: Run | None = None
        if run_id:
            try:
                run = runs.get_run(session, run_id)
            except NotFoundError as error:
                raise InvalidError(f"run_id {run_id!r} is no run", field="run_id") from error
            if run.project != asked.project:
                raise InvalidError(f"run {run_id} belongs to project {run.project!r}", field="run_id")
        dataset = (
            asked.dataset_digest or (parent.dataset_digest if parent else "") or (run.dataset_digest if run else "")
        )
        return replace(asked, run_id=run_id, dataset_digest=dataset)

    def _resolve(self, session: Session, project: str, ref: Ref) -> ModelVersion:
        if ref.digest:
            found = registry.find_by_digest(session, project, ref.digest)
            if found is None:
                raise NotFoundError(f"project {project!r} has no model version {ref.digest}")
            return found
        if ref.alias:
            aliases = registry.aliases_of(session, project, ref.name)
            if ref.alias not in aliases:
                self._check_model(session, project, ref.name)
                raise NotFoundError(f"model {ref.name!r} has no alias {ref.alias!r}{nearest(ref.alias, aliases)}")
            found = registry.find_by_digest(session, project, aliases[ref.alias], ref.name)
        elif ref.number:
            found = registry.find_by_number(session, project, ref.name, ref.number)
        else:
            found = registry.find_latest(session, project, ref.name)
        if found is None:
            self._check_model(session, project, ref.name)
            raise NotFoundError(f"model {ref.name!r} has no version {ref.number or ref.alias}")
        return found

    def _check_model(self, session: Session, project: str, name: str) -> None:
        if registry.find_latest(session, project, name) is None:
            raise self._no_model(session, project, name)

    @staticmethod
    def _no_model(session: Session, project: str, name: str) -> NotFoundError:
        return NotFoundError(f"no model {name!r}{nearest(name, registry.model_names(session, project))}")

    def _locked_aliases(self, session: Session, project: str, name: str) -> dict[str, str]:
        if registry.lock_model(session, project, name) is None:
            raise self._no_model(session, project, name)
        return registry.aliases_of(session, project, name)

    @staticmethod
    def _check_deletable(session: Session, gone: ModelVersion, *, by_digest: bool) -> None:
        label = f"{gone.name}/{gone.number}"
        names = registry.names_with_digest(session, gone.project, gone.digest)
        if by_digest and len(names) > 1:
            raise InvalidError(f"models {', '.join(names)} have this digest; name one, as in {label}", field="ref")
        if gone.aliases:
            raise ConflictError(f"alias {gone.aliases[0]!r} points at {label}; move or delete the alias first")
        children = registry.children_of(session, gone.project, gone.digest) if len(names) == 1 else []
        if children:
            raise ConflictError(f"{children[0].name}/{children[0].number} was made from {label}; delete that first")


def _check_alias(alias: str) -> None:
    check_name(alias, "alias")
    if alias.isdigit() or alias == "latest":
        raise InvalidError(f"alias {alias!r} would read as a version; use a word such as 'champion'", field="alias")


def _event(alias: str, old: str, new: str, actor: str, reason: str) -> AliasEvent:
    return AliasEvent(
        alias=alias,
        from_digest=old,
        to_digest=new,
        actor=check_line(actor, "actor"),
        reason=check_text(reason, "reason"),
        time=time.time(),
    )
