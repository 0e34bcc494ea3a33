"""All SQL of compress_svc: functions that take a session and leave the commit to the caller."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from services.common.errors import NotFoundError
from services.compress_svc.models import COMPRESSIONS, NEEDED_BLOBS, VARIANTS, Compression, Variant


def add(session: Session, compression: Compression, needed: Iterable[str]) -> None:
    """Insert a compression and the blobs that its work will read."""
    session.execute(
        insert(COMPRESSIONS).values(
            id=compression.id,
            project=compression.project,
            model_name=compression.model_name,
            parent=compression.parent,
            dataset_digest=compression.dataset_digest,
            recipe=json.dumps(compression.recipe),
            job_id=compression.job_id,
            active=True,
            created_at=compression.created_at,
        )
    )
    rows = [{"compression_id": compression.id, "digest": digest} for digest in sorted(set(needed))]
    if rows:
        session.execute(insert(NEEDED_BLOBS), rows)


def get(session: Session, compression_id: str) -> Compression:
    """Return a compression with its variants, or raise NotFoundError."""
    row = session.execute(select(COMPRESSIONS).where(COMPRESSIONS.c.id == compression_id)).first()
    if row is None:
        raise NotFoundError(f"there is no compression {compression_id!r}; list them to see those there are")
    return _compressions(session, [row])[0]


def lock(session: Session, compression_id: str) -> None:
    """Make writers of one compression take turns until the transaction ends."""
    session.execute(select(COMPRESSIONS.c.id).where(COMPRESSIONS.c.id == compression_id).with_for_update())


def page(session: Session, project: str, after: Sequence[Any] | None, limit: int) -> list[Compression]:
    """Return compressions, newest first, behind the (created_at, id) of `after`; an empty project means all."""
    columns = COMPRESSIONS.c
    query = select(COMPRESSIONS).order_by(columns.created_at.desc(), columns.id.desc()).limit(limit)
    if project:
        query = query.where(columns.project == project)
    if after:
        query = query.where(tuple_(columns.created_at, columns.id) < tuple_(*after))
    return _compressions(session, list(session.execute(query)))


def put_variant(session: Session, compression_id: str, variant: Variant) -> None:
    """Insert a variant; one of that name recorded before stays."""
    where = VARIANTS.c.compression_id == compression_id
    if session.execute(select(VARIANTS.c.name).where(where, VARIANTS.c.name == variant.name)).first():
        return
    place = session.execute(select(func.count()).select_from(VARIANTS).where(where)).scalar_one()
    values = {"name": variant.name, "digest": variant.digest, "verdict": variant.verdict, "reason": variant.reason}
    session.execute(
        insert(VARIANTS).values(compression_id=compression_id, place=place, card=json.dumps(variant.card), **values)
    )


def release(session: Session, compression_id: str) -> None:
    """Note that the work has ended: its blobs are no longer needed for it."""
    session.execute(update(COMPRESSIONS).where(COMPRESSIONS.c.id == compression_id).values(active=False))
    session.execute(delete(NEEDED_BLOBS).where(NEEDED_BLOBS.c.compression_id == compression_id))


def iterate_needed(session: Session) -> Iterator[Sequence[str]]:
    """Yield the digests of all needed blobs, each once, in groups."""
    query = select(NEEDED_BLOBS.c.digest).distinct().order_by(NEEDED_BLOBS.c.digest)
    yield from session.scalars(query.execution_options(yield_per=1000)).partitions()


def _compressions(session: Session, rows: Sequence[Row[Any]]) -> list[Compression]:
    ids = [row.id for row in rows]
    query = select(VARIANTS).where(VARIANTS.c.compression_id.in_(ids)).order_by(VARIANTS.c.place)
    variants: dict[str, list[Variant]] = {key: [] for key in ids}
    for found in session.execute(query):
        variants[found.compression_id].append(
            Variant(
                name=found.name,
                digest=found.digest,
                card=json.loads(found.card),
                verdict=found.verdict,
                reason=found.reason,
            )
        )
    return [
        Compression(
            id=row.id,
            project=row.project,
            model_name=row.model_name,
            parent=row.parent,
            dataset_digest=row.dataset_digest,
            recipe=json.loads(row.recipe),
            job_id=row.job_id,
            created_at=row.created_at,
            variants=tuple(variants[row.id]),
        )
        for row in rows
    ]
