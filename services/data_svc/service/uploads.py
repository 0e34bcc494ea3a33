"""Resumable uploads."""

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.digest import check_digest
from services.common.errors import ConflictError, InvalidError, TooLargeError
from services.common.ids import new_id
from services.common.names import check_name
from services.common.storage import Part, Storage, delete_parts, read_parts, write_parts_sync
from services.data_svc import repository
from services.data_svc.engine.entities import Upload, UploadState
from services.data_svc.engine.limits import ScanLimits
from services.data_svc.engine.parts import write_index
from services.data_svc.engine.paths import clean_path
from services.data_svc.settings import DataSettings

log = logging.getLogger("modelwright.data")

IDLE_S = 15.0
"""An open upload that received nothing for this long was left by its client; another may go on with it."""


class UploadService:
    """Takes uploads in parts and says where a cut one goes on."""

    def __init__(self, database: Database, storage: Storage, settings: DataSettings) -> None:
        self._database = database
        self._storage = storage
        self._settings = settings

    def create(self, project: str, filename: str, size: int, digest: str) -> Upload:
        """Open an upload. A declared digest gives the complete upload that has it, or one that was left behind."""
        self._check(project, filename, size, digest)
        with self._database.write() as session:
            known = self._known(session, project, size, digest) if digest else None
            now = time.time()
            if known:
                repository.change_upload(session, known.id, touched_at=now)
                return replace(known, touched_at=now)
            upload = Upload(
                id=new_id("upl"),
                project=project,
                filename=filename,
                size=size,
                digest=digest,
                created_at=now,
                touched_at=now,
            )
            repository.add_upload(session, upload)
            return upload

    def get(self, upload_id: str) -> Upload:
        """Return an upload."""
        with self._database.read() as session:
            return repository.get_upload(session, upload_id)

    def record_part(self, upload_id: str, part: Part) -> Upload:
        """Note a part that lies in the storage; the same part again changes nothing.

        Raises:
            ConflictError: it does not begin where the last one ended; the message names that place.
        """
        check_digest(part.digest, "digest")
        if not 0 < part.size <= self._settings.max_part_bytes:
            raise InvalidError(
                f"the part has {part.size} bytes; give 1 to {self._settings.max_part_bytes}", field="size"
            )
        with self._database.write() as session:
            upload = repository.get_upload(session, upload_id, lock=True)
            if part.offset < upload.received and repository.get_part(session, upload_id, part.offset) == part:
                return upload
            _demand_next(upload, part.offset)
            _demand_room(upload, part.offset + part.size)
            repository.add_part(session, upload_id, part)
            grown = {"received": part.offset + part.size, "touched_at": time.time()}
            repository.change_upload(session, upload_id, **grown)
            return replace(upload, **grown)  # type: ignore[arg-type]  # two fields by name

    def write(self, upload_id: str, offset: int, chunks: Iterable[bytes]) -> Upload:
        """Store and record the bytes from `offset` on; what arrived before a cut is kept."""
        upload = self.get(upload_id)
        _demand_next(upload, offset)

        def bounded() -> Iterator[bytes]:
            end = offset
            for chunk in chunks:
                end += len(chunk)
                _demand_room(upload, end)
                yield chunk

        def record(start: int, size: int, digest: str) -> None:
            self.record_part(upload_id, Part(offset=start, size=size, digest=digest))

        write_parts_sync(self._storage, upload_id, offset, bounded(), record)
        return self.get(upload_id)

    def complete(self, upload_id: str) -> Upload:
        """Close an upload that has all its bytes; it may be committed from now on.

        A declared digest is verified here for uploads up to `verify_inline_bytes`, and by the commit for larger ones.

        Raises:
            ConflictError: bytes are missing.
            InvalidError: the bytes do not have the declared digest.
        """
        with self._database.read() as session:
            upload = repository.get_upload(session, upload_id)
            parts = repository.list_parts(session, upload_id)
        if upload.state is UploadState.COMPLETE:
            return upload
        if upload.received != upload.size:
            raise ConflictError(
                f"upload {upload_id} has received {upload.received} of {upload.size} bytes; go on at {upload.received}"
            )
        verified = self._verify(upload, parts)
        write_index(self._storage, upload_id, parts)
        with self._database.write() as session:
            upload = repository.get_upload(session, upload_id, lock=True)
            closed = {"state": UploadState.COMPLETE, "verified": verified, "touched_at": time.time()}
            repository.change_upload(session, upload_id, **closed)
        return replace(upload, **closed)  # type: ignore[arg-type]  # three fields by name

    def delete(self, upload_id: str) -> None:
        """Delete an upload and its bytes.

        Raises:
            ConflictError: a commit that has not ended needs it.
        """
        with self._database.write() as session:
            repository.get_upload(session, upload_id, lock=True)
            if jobs := repository.uses_of(session, upload_id):
                raise ConflictError(f"upload {upload_id} is needed by {', '.join(jobs)}; cancel it or wait for its end")
            repository.delete_upload(session, upload_id)
        delete_parts(self._storage, upload_id)

    def expire(self) -> int:
        """Delete uploads that were left behind, and return how many."""
        now = time.time()
        before = (now - self._settings.open_upload_keep_s, now - self._settings.complete_upload_keep_s)
        with self._database.read() as session:
            stale = repository.stale_uploads(session, *before)
        for upload_id in stale:
            # The bytes first: what is left of a sweep that breaks off is found by the next.
            delete_parts(self._storage, upload_id)
            with self._database.write() as session:
                repository.delete_upload(session, upload_id)
        if stale:
            log.info("%d uploads expired", len(stale))
        return len(stale)

    def _check(self, project: str, filename: str, size: int, digest: str) -> None:
        check_name(project, "project")
        path, problem = clean_path(filename, ScanLimits.of(self._settings))
        if problem or not path:
            raise InvalidError(f"filename {filename!r} {problem or 'is empty'}", field="filename")
        if digest:
            check_digest(digest, "digest")
        if size < 1:
            raise InvalidError(f"{filename!r} has size {size}; an upload has at least one byte", field="size")
        if size > self._settings.max_upload_bytes:
            raise TooLargeError(f"the file has {size} bytes; the limit is {self._settings.max_upload_bytes}")

    def _known(self, session: Session, project: str, size: int, digest: str) -> Upload | None:
        found = [upload for upload in repository.find_uploads(session, project, digest) if upload.size == size]
        ready = [upload for upload in found if upload.state is UploadState.COMPLETE and upload.verified]
        left = [
            upload for upload in found if upload.state is UploadState.OPEN and upload.touched_at < time.time() - IDLE_S
        ]
        return next(iter(ready + left), None)

    def _verify(self, upload: Upload, parts: Sequence[Part]) -> bool:
        if not upload.digest:
            return False
        if len(parts) == 1:
            found = parts[0].digest
        elif upload.size <= self._settings.verify_inline_bytes:
            state = hashlib.sha256()
            for data in read_parts(self._storage, upload.id, parts):
                state.update(data)
            found = "sha256:" + state.hexdigest()
        else:
            return False
        if found != upload.digest:
            raise InvalidError(
                f"upload {upload.id} was declared as {upload.digest}, but its bytes have {found}; "
                "delete it and upload the file again",
                field="digest",
            )
        return True


def _demand_next(upload: Upload, offset: int) -> None:
    if upload.state is UploadState.COMPLETE:
        raise ConflictError(f"upload {upload.id} is complete and takes no more bytes")
    if offset != upload.received:
        raise ConflictError(
            f"upload {upload.id} has received {upload.received} bytes; go on at offset {upload.received}, not {offset}"
        )


def _demand_room(upload: Upload, end: int) -> None:
    if end > upload.size:
        raise InvalidError(
            f"upload {upload.id} was declared with {upload.size} bytes, but at least {end} were sent; "
            "create one with the file's size",
            field="size",
        )
