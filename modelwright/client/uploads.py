"""Uploads that go on where they were cut."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import httpx

from modelwright.client.records import Upload, to_record
from modelwright.client.resource import Resource, part
from modelwright.client.tar import CHUNK_BYTES, FolderTar
from services.common.digest import digest_file, digest_json
from services.common.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from services.common.ids import new_id

CONFLICT = 409
COMPLETE = "complete"
Progress = Callable[[int, int], None]
"""Called with (bytes at the server, bytes in all) while an upload goes on."""


class Source(Protocol):
    """Bytes of known size that can be read from any offset, as often as needed."""

    size: int

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the bytes from `offset` on."""
        ...

    def digest(self) -> str:
        """Return `sha256:<hex>` of all bytes."""
        ...


class FileSource:
    """A file as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the file's bytes from `offset` on, 1 MiB at a time."""
        with self.path.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def digest(self) -> str:
        """Return the digest of the file."""
        return digest_file(self.path)


class BytesSource:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the bytes from `offset` on, 1 MiB at a time."""
        for start in range(offset, self.size, CHUNK_BYTES):
            yield self.data[start : start + CHUNK_BYTES]

    def digest(self) -> str:
        """Return the digest of the bytes."""
        return "sha256:" + hashlib.sha256(self.data).hexdigest()


class Uploads(Resource):
    """Bytes on their way into datasets."""

    def get(self, upload_id: str) -> Upload:
        """Return the upload, with how much of it has arrived."""
        return self._one(Upload, "GET", f"uploads/{part(upload_id)}", "upload")

    def push_direct(self, path: Path) -> Upload:
        """Send a file straight to the object store by presigned addresses; see `modelwright.client.direct`."""
        from modelwright.client.direct import push_direct  # noqa: PLC0415 - seldom needed

        return push_direct(self, path)

    def create(self, filename: str, size: int, digest: str = "", *, key: str | None = None) -> Upload:
        """Announce `size` bytes; bytes whose digest the server knows are complete at once."""
        body = {"filename": filename, "size": size, "digest": digest}
        return self._one(Upload, "POST", "uploads", "upload", body=body, key=key)

    def complete(self, upload_id: str) -> Upload:
        """Close an upload whose bytes have all arrived; the server checks the digest."""
        return self._one(Upload, "POST", f"uploads/{part(upload_id)}:complete", "upload")

    def delete(self, upload_id: str) -> None:
        """Give up an upload."""
        self._none("DELETE", f"uploads/{part(upload_id)}")

    def push(self, path: str | Path, *, progress: Progress | None = None) -> Upload:
        """Upload a file as it is, or a folder as a deterministic tar, and return the complete upload.

        The same bytes are sent once: a second call finds them at the server, and
        a call after a cut, also from another process, goes on where it stopped.

        Raises:
            InvalidError: there is no such file, or the folder is empty.
            UnavailableError: the server stays away.
        """
        found = Path(path)
        if found.is_dir():
            return self.send(FolderTar(found), f"{found.resolve().name}.tar", progress=progress)
        if not found.is_file():
            raise InvalidError(f"there is no file or folder {found}; check the path", field="source")
        return self.send(FileSource(found), found.name, progress=progress)

    def send(self, source: Source, filename: str, *, progress: Progress | None = None) -> Upload:
        """Upload `source` under a file name; see `push`."""
        digest = source.digest()
        upload = self._find(filename, source.size, digest)
        report = progress or (lambda done, total: None)
        failures = 0
        while upload.state != COMPLETE and upload.received < source.size:
            before = upload.received
            upload = self._send_rest(upload, source, report, failures)
            failures = 0 if upload.received > before else failures + 1
        if upload.state != COMPLETE:
            upload = self.complete(upload.id)
        if upload.digest and upload.digest != digest:
            raise ConflictError(f"{filename} arrived as {upload.digest} but is {digest}; upload it again")
        report(source.size, source.size)
        return upload

    def _find(self, filename: str, size: int, digest: str) -> Upload:
        key = "upload-" + digest_json([self.transport.settings.project, filename, size, digest])[7:]
        upload = self.create(filename, size, digest, key=key)
        try:
            return upload if upload.state == COMPLETE else self.get(upload.id)
        except NotFoundError:
            # The server remembers the key of an upload that was since deleted.
            return self.create(filename, size, digest, key=new_id("key"))

    def _send_rest(self, upload: Upload, source: Source, report: Progress, failures: int) -> Upload:
        path = self.transport.path(f"uploads/{part(upload.id)}")
        chunks = _counted(source, upload.received, report)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(source.size - upload.received)}
        try:
            response = self.transport.call(
                "PATCH",
                path,
                params={"offset": str(upload.received)},
                content=chunks,
                headers=headers,
                once=True,
                accept=(CONFLICT,),
            )
        except (UnavailableError, httpx.StreamError):
            if failures >= self.transport.settings.retries:
                raise
            self.transport.wait(failures)
            return self.get(upload.id)
        if response.status_code == CONFLICT:
            return self._after_conflict(upload, self.transport.error(response), failures)
        return to_record(Upload, self._inner(response, "upload"))

    def _after_conflict(self, upload: Upload, problem: Exception, failures: int) -> Upload:
        """Go on at the offset the server has; another writer of the same upload may be ahead."""
        now = self.get(upload.id)
        if now.received == upload.received and now.state != COMPLETE:
            if failures >= self.transport.settings.retries:
                raise problem
            self.transport.wait(failures)
        return now


def _counted(source: Source, offset: int, report: Progress) -> Iterator[bytes]:
    sent = offset
    report(sent, source.size)
    for chunk in source.chunks(offset):
        yield chunk
        sent += len(chunk)
        report(sent, source.size)
