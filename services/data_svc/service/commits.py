"""Commits: a job that turns uploads into a version."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.errors import ConflictError, InvalidError
from services.common.jobs import Job, JobService, Lease
from services.common.names import check_name
from services.common.storage import BlobStore
from services.data_svc import repository
from services.data_svc.engine.entities import Upload, UploadState, Version
from services.data_svc.engine.split import SplitPolicy
from services.data_svc.service.versions import resolve

KIND = "commit"


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """What a commit is asked to make."""

    project: str
    name: str
    upload_ids: Sequence[str] = ()
    split: SplitPolicy = field(default_factory=SplitPolicy)
    parent: str = ""
    """Reference to the version it is made from; may be empty."""
    idempotency_key: str = ""

    def __post_init__(self) -> None:
        """Refuse what can be seen without looking anything up."""
        check_name(self.project, "project")
        check_name(self.name, "name")
        if len(set(self.upload_ids)) != len(self.upload_ids):
            raise InvalidError("an upload is named twice; name each once", field="upload_ids")


class CommitService:
    """Submits commits and records what their workers made."""

    def __init__(self, database: Database, blobs: BlobStore, jobs: JobService, queue: str) -> None:
        self._database = database
        self._blobs = blobs
        self._jobs = jobs
        self._queue = queue

    def check(self, request: NewVersion) -> None:
        """Check a request as far as it is given; nothing is changed."""
        with self._database.read() as session:
            self._uploads(session, request)
            self._parent(session, request)

    def submit(self, request: NewVersion) -> Job:
        """Queue the commit; the same idempotency key gives the same job."""
        if not request.upload_ids:
            raise InvalidError("no upload is named; upload the files first", field="upload_ids")
        with self._database.write() as session:
            uploads = self._uploads(session, request, lock=True)
            parent = self._parent(session, request)
            job = self._jobs.submit(
                session,
                kind=KIND,
                project=request.project,
                subject=request.name,
                queue=self._queue,
                spec=_spec(request, uploads, parent),
                idempotency_key=request.idempotency_key,
            )
            if not job.state.ended:
                repository.use_uploads(session, request.upload_ids, job.id)
            for upload in uploads:
                repository.change_upload(session, upload.id, touched_at=time.time())
            return job

    def record(self, lease: Lease, version: Version) -> Version:
        """Make a version known under the next number; one with the same digest keeps the number it has.

        Raises:
            StaleLeaseError: another worker has the job.
            ConflictError: it is not what the job was to make, or its manifest is gone.
        """
        if not self._blobs.exists(version.digest):
            raise ConflictError(f"manifest {version.digest} is not in the storage; commit again")
        with self._database.write() as session:
            job = self._jobs.check_lease(session, lease)
            if (job.kind, job.project, job.subject) != (KIND, version.project, version.name):
                raise ConflictError(f"job {job.id} does not commit dataset {version.project}/{version.name}")
            for upload in job.spec["uploads"]:
                # The worker has read them whole and found the digests that were declared.
                if upload["digest"]:
                    repository.change_upload(session, upload["id"], verified=True)
            repository.lock_dataset(session, version.project, version.name)
            known = repository.find_version(session, version.project, version.name, digest=version.digest)
            if known:
                return known
            number = repository.next_number(session, version.project, version.name)
            made = replace(version, number=number, created_at=time.time())
            repository.add_version(session, made)
            return made

    @staticmethod
    def _uploads(session: Session, request: NewVersion, *, lock: bool = False) -> list[Upload]:
        uploads = [repository.get_upload(session, upload_id, lock=lock) for upload_id in sorted(request.upload_ids)]
        for upload in uploads:
            if upload.project != request.project:
                raise InvalidError(f"upload {upload.id} belongs to another project", field="upload_ids")
            if upload.state is not UploadState.COMPLETE:
                raise ConflictError(
                    f"upload {upload.id} ({upload.filename}) has received {upload.received} of {upload.size} bytes; "
                    "complete it first"
                )
        return uploads

    @staticmethod
    def _parent(session: Session, request: NewVersion) -> str:
        return resolve(session, request.project, request.parent).digest if request.parent else ""


def release_uploads(session: Session, job: Job) -> None:
    """Free the uploads of a commit that has ended; called with every change of a job."""
    if job.state.ended:
        repository.free_uploads(session, job.id)


def _spec(request: NewVersion, uploads: Sequence[Upload], parent: str) -> dict[str, Any]:
    return {
        "name": request.name,
        "uploads": [
            {
                "id": upload.id,
                "filename": upload.filename,
                "size": upload.size,
                "digest": upload.digest,
                "verified": upload.verified,
            }
            for upload in uploads
        ],
        "split": {
            "fractions": dict(request.split.fractions),
            "seed": request.split.seed,
            "stratify": request.split.stratify,
        },
        "parent": parent,
    }
