"""SQL of checkpoints, artifacts and what the collector must keep."""

import time
from collections.abc import Iterator, Sequence

from sqlalchemy import delete, insert, select, union
from sqlalchemy.orm import Session

from services.train_svc.models import Checkpoint, File
from services.train_svc.models.tables import artifact_files, checkpoint_files, package_files


def put_checkpoint(session: Session, run_key: int, step: int, files: Sequence[File]) -> None:
    """Keep the files of a checkpoint in place of any earlier ones at that step."""
    table, now = checkpoint_files, time.time()
    session.execute(delete(table).where(table.c.run_key == run_key, table.c.step == step))
    rows = [
        {"run_key": run_key, "step": step, "path": f.path, "digest": f.digest, "size": f.size, "created_at": now}
        for f in files
    ]
    session.execute(insert(table), rows)


def checkpoints_of(session: Session, run_key: int, run_id: str) -> list[Checkpoint]:
    """Return a run's checkpoints, newest first."""
    table = checkpoint_files
    query = select(table).where(table.c.run_key == run_key).order_by(table.c.step.desc(), table.c.path)
    files: dict[int, list[File]] = {}
    times: dict[int, float] = {}
    for row in session.execute(query):
        files.setdefault(row.step, []).append(File(path=row.path, digest=row.digest, size=row.size))
        times[row.step] = row.created_at
    return [Checkpoint(run_id=run_id, step=s, files=tuple(files[s]), created_at=times[s]) for s in files]


def put_artifact(session: Session, run_key: int, file: File) -> None:
    """Keep an artifact in place of any earlier one at its path."""
    table = artifact_files
    session.execute(delete(table).where(table.c.run_key == run_key, table.c.path == file.path))
    session.execute(insert(table).values(run_key=run_key, path=file.path, digest=file.digest, size=file.size))


def artifacts_of(session: Session, run_key: int) -> list[File]:
    """Return a run's artifacts in the order of their paths."""
    table = artifact_files
    query = select(table).where(table.c.run_key == run_key).order_by(table.c.path)
    return [File(path=row.path, digest=row.digest, size=row.size) for row in session.execute(query)]


def referenced_digests(session: Session) -> Iterator[str]:
    """Yield each digest of a blob that a checkpoint, artifact or package still needs."""
    tables = (checkpoint_files, artifact_files, package_files)
    wanted = union(*(select(table.c.digest) for table in tables))
    yield from session.scalars(wanted.execution_options(yield_per=5000))
