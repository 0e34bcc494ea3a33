"""SQL of models, their versions and aliases."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.train_svc.models import AliasEvent, File, Model, ModelVersion
from services.train_svc.models.tables import alias_events, aliases, model_versions, models, package_files

COLUMNS = (
    "project", "name", "number", "digest", "parent", "run_id", "dataset_digest", "variant", "card_json",
    "signature_json", "created_at",
)  # fmt: skip
version = model_versions.c


def lock_model(session: Session, project: str, name: str, *, create: bool = False) -> int | None:
    """Return the last number given under a model's name, locked until the transaction ends; None if there is none."""
    if create:
        make = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        row = make(models).values(project=project, name=name, last_number=0)
        session.execute(row.on_conflict_do_nothing())
    where = (models.c.project == project, models.c.name == name)
    return session.scalar(select(models.c.last_number).where(*where).with_for_update())


def add_version(session: Session, made: ModelVersion) -> ModelVersion:
    """Insert a version under the next number of its (locked) model."""
    where = (models.c.project == made.project, models.c.name == made.name)
    number = session.scalar(
        update(models).where(*where).values(last_number=models.c.last_number + 1).returning(models.c.last_number)
    )
    assert number is not None
    numbered = replace(made, number=number, created_at=time.time())
    values = {column: getattr(numbered, column) for column in COLUMNS}
    key = session.scalar(insert(model_versions).values(**values).returning(version.key))
    rows = [{"version_key": key, "path": f.path, "digest": f.digest, "size": f.size} for f in made.files]
    session.execute(insert(package_files), rows)
    return numbered


def find_by_digest(session: Session, project: str, digest: str, name: str = "") -> ModelVersion | None:
    """Return the version with a digest: under the name if given, else the first that was registered."""
    query = select(model_versions).where(version.project == project, version.digest == digest)
    if name:
        query = query.where(version.name == name)
    return _first(session, query.order_by(version.key).limit(1))


def find_by_number(session: Session, project: str, name: str, number: int) -> ModelVersion | None:
    """Return a model's version by its number."""
    where = (version.project == project, version.name == name, version.number == number)
    return _first(session, select(model_versions).where(*where))


def find_latest(session: Session, project: str, name: str) -> ModelVersion | None:
    """Return a model's version with the highest number."""
    where = (version.project == project, version.name == name)
    return _first(session, select(model_versions).where(*where).order_by(version.number.desc()).limit(1))


def names_with_digest(session: Session, project: str, digest: str) -> list[str]:
    """Return the models that have a version with this digest."""
    where = (version.project == project, version.digest == digest)
    return list(session.scalars(select(version.name).where(*where).order_by(version.key)))


def children_of(session: Session, project: str, digest: str) -> list[ModelVersion]:
    """Return the versions that were made from the given one, oldest first."""
    return _find(session, version.project == project, version.parent == digest)


def versions_of_run(session: Session, run_id: str) -> list[ModelVersion]:
    """Return the versions that a run led to, oldest first."""
    return _find(session, version.run_id == run_id)


def versions_on(session: Session, project: str, dataset_digest: str) -> list[ModelVersion]:
    """Return the versions that came from a dataset version, oldest first."""
    return _find(session, version.project == project, version.dataset_digest == dataset_digest)


def page_versions(session: Session, project: str, name: str, before: int | None, limit: int) -> list[ModelVersion]:
    """Return a model's versions, newest first, behind a number."""
    query = select(model_versions).where(version.project == project, version.name == name)
    if before is not None:
        query = query.where(version.number < before)
    return _load(session, session.execute(query.order_by(version.number.desc()).limit(limit)).all())


def page_model_names(session: Session, project: str, after: str | None, limit: int) -> list[str]:
    """Return names of models that have versions, in their order, behind a name."""
    query = select(version.name).where(version.project == project).distinct()
    if after is not None:
        query = query.where(version.name > after)
    return list(session.scalars(query.order_by(version.name).limit(limit)))


def model_names(session: Session, project: str) -> list[str]:
    """Return every model's name of a project."""
    return list(session.scalars(select(version.name).where(version.project == project).distinct()))


def get_model(session: Session, project: str, name: str) -> Model:
    """Return a model as it stands."""
    where = (version.project == project, version.name == name)
    count = session.scalar(select(func.count()).select_from(model_versions).where(*where)) or 0
    latest = find_latest(session, project, name)
    return Model(project=project, name=name, latest=latest, versions=count, aliases=aliases_of(session, project, name))


def delete_version(session: Session, gone: ModelVersion) -> None:
    """Delete a version with its list of files."""
    where = (version.project == gone.project, version.name == gone.name, version.number == gone.number)
    session.execute(delete(model_versions).where(*where))


def aliases_of(session: Session, project: str, name: str) -> dict[str, str]:
    """Return a model's aliases and the digests they point at."""
    query = select(aliases.c.alias, aliases.c.digest).where(aliases.c.project == project, aliases.c.name == name)
    return {row[0]: row[1] for row in session.execute(query.order_by(aliases.c.alias))}


def move_alias(session: Session, project: str, name: str, event: AliasEvent) -> None:
    """Point an alias of a (locked) model at `event.to_digest`, or at nothing, and keep who did it."""
    where = (aliases.c.project == project, aliases.c.name == name, aliases.c.alias == event.alias)
    session.execute(delete(aliases).where(*where))
    if event.to_digest:
        row = {"project": project, "name": name, "alias": event.alias, "digest": event.to_digest}
        session.execute(insert(aliases).values(**row))
    fields = {column: getattr(event, column) for column in AliasEvent.__dataclass_fields__}
    session.execute(insert(alias_events).values(project=project, name=name, **fields))


def events_of(session: Session, project: str, name: str) -> list[AliasEvent]:
    """Return who moved the model's aliases, newest first."""
    where = (alias_events.c.project == project, alias_events.c.name == name)
    rows = session.execute(select(alias_events).where(*where).order_by(alias_events.c.key.desc()))
    return [AliasEvent(**{c: row._mapping[c] for c in AliasEvent.__dataclass_fields__}) for row in rows]


def _find(session: Session, *where: Any) -> list[ModelVersion]:  # noqa: ANN401 - SQL conditions
    return _load(session, session.execute(select(model_versions).where(*where).order_by(version.key)).all())


def _first(session: Session, query: Any) -> ModelVersion | None:  # noqa: ANN401 - a select
    found = _load(session, session.execute(query).all())
    return found[0] if found else None


def _load(session: Session, rows: Sequence[Row[Any]]) -> list[ModelVersion]:
    """Return versions with their files and aliases: two more statements for any number of them."""
    keys = [row.key for row in rows]
    files: dict[int, list[File]] = {}
    query = select(package_files).where(package_files.c.version_key.in_(keys)).order_by(package_files.c.path)
    for row in session.execute(query) if keys else ():
        files.setdefault(row.version_key, []).append(File(path=row.path, digest=row.digest, size=row.size))
    held = _aliases_at(session, {(row.project, row.name) for row in rows})
    return [
        ModelVersion(
            **{column: row._mapping[column] for column in COLUMNS},
            files=tuple(files.get(row.key, ())),
            aliases=tuple(held.get((row.project, row.name, row.digest), ())),
        )
        for row in rows
    ]


def _aliases_at(session: Session, held_by: set[tuple[str, str]]) -> dict[tuple[str, str, str], list[str]]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for project, name in held_by:
        for alias, digest in aliases_of(session, project, name).items():
            found.setdefault((project, name, digest), []).append(alias)
    return found
