"""All SQL of the data service. Every function works in the caller's transaction."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.common.errors import NotFoundError
from services.common.storage import Part
from services.data_svc.engine.entities import Dataset, File, Upload, UploadState, Version
from services.data_svc.models import DATASETS, UPLOAD_PARTS, UPLOAD_USES, UPLOADS, VERSIONS

FETCH_ROWS = 500


def add_upload(session: Session, upload: Upload) -> None:
    """Insert a new upload."""
    session.execute(insert(UPLOADS).values(asdict(upload)))


def get_upload(session: Session, upload_id: str, *, lock: bool = False) -> Upload:
    """Return an upload, or raise NotFoundError; with `lock`, no other transaction changes it meanwhile."""
    query = select(UPLOADS).where(UPLOADS.c.id == upload_id)
    row = session.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no upload {upload_id!r}; it may have expired: create a new one")
    return _upload(row)


def find_uploads(session: Session, project: str, digest: str) -> list[Upload]:
    """Return the project's uploads with a declared digest, newest first."""
    query = select(UPLOADS).where(UPLOADS.c.project == project, UPLOADS.c.digest == digest)
    return [_upload(row) for row in session.execute(query.order_by(UPLOADS.c.id.desc()))]


def change_upload(session: Session, upload_id: str, **values: Any) -> None:  # noqa: ANN401 - columns
    """Set columns of an upload."""
    session.execute(update(UPLOADS).where(UPLOADS.c.id == upload_id).values(values))


def delete_upload(session: Session, upload_id: str) -> None:
    """Remove an upload and what is known of its parts."""
    session.execute(delete(UPLOADS).where(UPLOADS.c.id == upload_id))


def add_part(session: Session, upload_id: str, part: Part) -> None:
    """Insert a part."""
    session.execute(insert(UPLOAD_PARTS).values(upload_id=upload_id, **asdict(part)))


def get_part(session: Session, upload_id: str, offset: int) -> Part | None:
    """Return the part that begins at `offset`."""
    columns = UPLOAD_PARTS.c
    query = _parts().where(columns.upload_id == upload_id, columns.offset == offset)
    row = session.execute(query).one_or_none()
    return None if row is None else Part(**row._mapping)


def list_parts(session: Session, upload_id: str) -> list[Part]:
    """Return the parts of an upload in order."""
    query = _parts().where(UPLOAD_PARTS.c.upload_id == upload_id).order_by(UPLOAD_PARTS.c.offset)
    return [Part(**row._mapping) for row in session.execute(query)]


def use_uploads(session: Session, upload_ids: Sequence[str], job_id: str) -> None:
    """Note that a job needs the uploads; saying it again changes nothing."""
    known = set(session.scalars(select(UPLOAD_USES.c.upload_id).where(UPLOAD_USES.c.job_id == job_id)))
    rows = [{"upload_id": upload_id, "job_id": job_id} for upload_id in upload_ids if upload_id not in known]
    if rows:
        session.execute(insert(UPLOAD_USES), rows)


def free_uploads(session: Session, job_id: str) -> None:
    """Note that a job needs its uploads no longer."""
    session.execute(delete(UPLOAD_USES).where(UPLOAD_USES.c.job_id == job_id))


def uses_of(session: Session, upload_id: str) -> list[str]:
    """Return the jobs that need an upload."""
    return list(session.scalars(select(UPLOAD_USES.c.job_id).where(UPLOAD_USES.c.upload_id == upload_id)))


def stale_uploads(session: Session, open_before: float, complete_before: float) -> list[str]:
    """Return uploads last touched before these times that no job needs."""
    columns = UPLOADS.c
    stale = or_(
        and_(columns.state == UploadState.OPEN, columns.touched_at < open_before),
        and_(columns.state == UploadState.COMPLETE, columns.touched_at < complete_before),
    )
    needed = exists().where(UPLOAD_USES.c.upload_id == columns.id)
    return list(session.scalars(select(columns.id).where(stale, ~needed)))


def lock_dataset(session: Session, project: str, name: str) -> None:
    """Hold a dataset's row, making it if it is new: commits of one dataset are numbered one after another."""
    make = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(make(DATASETS).values(project=project, name=name, last_number=0).on_conflict_do_nothing())
    session.execute(select(DATASETS).where(_dataset(project, name)).with_for_update()).one()


def next_number(session: Session, project: str, name: str) -> int:
    """Take the next version number of a locked dataset."""
    where = _dataset(project, name)
    session.execute(update(DATASETS).where(where).values(last_number=DATASETS.c.last_number + 1))
    return int(session.scalars(select(DATASETS.c.last_number).where(where)).one())


def add_version(session: Session, version: Version) -> None:
    """Insert a version."""
    values = asdict(version)
    values.update({name: json.dumps(values[name]) for name in ("files", "schema", "statistics")})
    session.execute(insert(VERSIONS).values(values))


def find_version(session: Session, project: str, name: str = "", number: int = 0, digest: str = "") -> Version | None:
    """Return the newest version that fits what is given."""
    columns = VERSIONS.c
    query = select(VERSIONS).where(columns.project == project)
    for column, value in ((columns.name, name), (columns.number, number), (columns.digest, digest)):
        query = query.where(column == value) if value else query
    row = session.execute(query.order_by(columns.created_at.desc(), columns.number.desc()).limit(1)).one_or_none()
    return None if row is None else _version(row)


def list_versions(session: Session, project: str, name: str, below: int | None, limit: int) -> list[Version]:
    """Return versions of a dataset, newest first, with numbers below `below`."""
    query = select(VERSIONS).where(VERSIONS.c.project == project, VERSIONS.c.name == name)
    if below is not None:
        query = query.where(VERSIONS.c.number < below)
    return [_version(row) for row in session.execute(query.order_by(VERSIONS.c.number.desc()).limit(limit))]


def list_datasets(session: Session, project: str, after: str, limit: int) -> list[Dataset]:
    """Return datasets that have versions, by name, behind `after`."""
    columns = VERSIONS.c
    counted = (
        select(columns.name, func.count().label("versions"), func.max(columns.number).label("number"))
        .where(columns.project == project, columns.name > after)
        .group_by(columns.name)
        .order_by(columns.name)
        .limit(limit)
        .subquery()
    )
    query = select(VERSIONS, counted.c.versions).join(
        counted, and_(columns.project == project, columns.name == counted.c.name, columns.number == counted.c.number)
    )
    return [
        Dataset(project=project, name=row.name, latest=_version(row), versions=row.versions)
        for row in session.execute(query.order_by(columns.name))
    ]


def dataset_names(session: Session, project: str) -> list[str]:
    """Return the names of datasets that have versions."""
    return list(session.scalars(select(VERSIONS.c.name).where(VERSIONS.c.project == project).distinct()))


def delete_version(session: Session, version: Version) -> None:
    """Remove a version."""
    columns = VERSIONS.c
    session.execute(
        delete(VERSIONS).where(
            columns.project == version.project, columns.name == version.name, columns.number == version.number
        )
    )


def iterate_digests(session: Session) -> Iterator[str]:
    """Yield the digests of all files of all versions, with repetitions."""
    for files in session.scalars(select(VERSIONS.c.files).execution_options(yield_per=FETCH_ROWS)):
        for file in json.loads(files):
            yield file["digest"]


def _dataset(project: str, name: str) -> ColumnElement[bool]:
    return and_(DATASETS.c.project == project, DATASETS.c.name == name)


def _parts() -> Select[Any]:
    return select(UPLOAD_PARTS.c.offset, UPLOAD_PARTS.c.size, UPLOAD_PARTS.c.digest)


def _upload(row: Row[Any]) -> Upload:
    return Upload(**{**row._mapping, "state": UploadState(row.state)})


def _version(row: Row[Any]) -> Version:
    values = {column.name: row._mapping[column] for column in VERSIONS.columns}
    files = tuple(File(**file) for file in json.loads(values["files"]))
    facts = {name: json.loads(values[name]) for name in ("schema", "statistics")}
    return Version(**{**values, **facts, "files": files})
