"""Use cases of a run's checkpoints and artifacts, and of what the collector must keep."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.errors import InvalidError, StaleLeaseError
from services.common.jobs import Job, Lease
from services.train_svc.models import Checkpoint, File
from services.train_svc.repository import files, runs
from services.train_svc.service.checks import check_files

GROUP = 2000
"""Digests given at once."""


class FileService:
    """Keeps which files belong to runs; the bytes are in the shared storage.

    Args:
        database: where the tables are.
        check_lease: raises StaleLeaseError for an old lease (`JobService.check_lease`).
    """

    def __init__(self, database: Database, check_lease: Callable[[Session, Lease], Job]) -> None:
        self._database = database
        self._check_lease = check_lease

    def record_checkpoint(self, checkpoint: Checkpoint, lease: Lease | None) -> None:
        """Keep a checkpoint, in place of any earlier one at its step.

        Raises:
            StaleLeaseError: the lease is old, or of another run's job.
            InvalidError: a path or digest is unsound, or there are no files.
        """
        if checkpoint.step < 0:
            raise InvalidError(f"step is {checkpoint.step}; a checkpoint's step is 0 or more", field="step")
        sound = check_files(checkpoint.files, "files")
        with self._database.write() as session:
            self._check(session, checkpoint.run_id, lease)
            run_key = runs.key_of(session, checkpoint.run_id, lock=True)
            files.put_checkpoint(session, run_key, checkpoint.step, sound)

    def checkpoints(self, run_id: str) -> list[Checkpoint]:
        """Return a run's checkpoints, newest first."""
        with self._database.read() as session:
            return files.checkpoints_of(session, runs.key_of(session, run_id), run_id)

    def record_artifact(self, run_id: str, file: File) -> None:
        """Keep an artifact, in place of any earlier one at its path."""
        (sound,) = check_files([file], "file")
        with self._database.write() as session:
            files.put_artifact(session, runs.key_of(session, run_id, lock=True), sound)

    def artifacts(self, run_id: str) -> list[File]:
        """Return a run's artifacts in the order of their paths."""
        with self._database.read() as session:
            return files.artifacts_of(session, runs.key_of(session, run_id))

    def references(self) -> Iterator[Sequence[str]]:
        """Yield, in groups, the digest of every blob that a checkpoint, artifact or model version needs."""
        with self._database.read() as session:
            digests = files.referenced_digests(session)
            while group := list(islice(digests, GROUP)):
                yield group

    def _check(self, session: Session, run_id: str, lease: Lease | None) -> None:
        if lease is None:
            return
        job = self._check_lease(session, lease)
        if job.subject != run_id:
            raise StaleLeaseError(f"job {job.id} carries out {job.subject}, not {run_id}; write nothing")
