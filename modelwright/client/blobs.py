"""Stored bytes by their digest."""

from collections.abc import Iterator
from pathlib import Path

from modelwright.client.records import File
from modelwright.client.resource import Resource, part
from modelwright.client.uploads import FileSource
from services.common.digest import digest_file
from services.common.errors import BusyError, UnavailableError

NOT_FOUND = 404


class Blobs(Resource):
    """Files of packages and artifacts, kept once however often they are sent."""

    def exists(self, digest: str) -> bool:
        """Return whether the server has the bytes of `digest`."""
        path = self.transport.path(f"blobs/{part(digest)}")
        return self.transport.call("HEAD", path, accept=(NOT_FOUND,)).status_code != NOT_FOUND

    def put(self, path: Path, name: str = "") -> File:
        """Send a file unless the server has it, and return its description under `name`."""
        file = File(path=name or path.name, digest=digest_file(path), size=path.stat().st_size)
        if not self.exists(file.digest):
            self._send(path, file)
        return file

    def read(self, digest: str) -> Iterator[bytes]:
        """Yield the bytes of a blob, piece by piece."""
        with self.transport.stream(self.transport.path(f"blobs/{part(digest)}")) as response:
            yield from response.iter_raw()

    def presign(self, digest: str, expires_s: int = 3600) -> str:
        """Return an address from which the object store itself gives the blob, to whoever has it.

        Raises:
            ConflictError: the platform's storage is a folder and has no such addresses.
        """
        path = f"blobs/{part(digest)}:presign?expires_s={expires_s}"
        return str(self._json("POST", path)["url"])

    def _send(self, path: Path, file: File) -> None:
        target = self.transport.path(f"blobs/{part(file.digest)}")
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(file.size)}
        for attempt in range(self.transport.settings.retries + 1):
            try:
                # The body is read anew each time, so the transport must not repeat it itself.
                chunks = FileSource(path).chunks()
                self.transport.call("PUT", target, content=chunks, headers=headers, once=True)
            except (UnavailableError, BusyError) as problem:
                if attempt == self.transport.settings.retries:
                    raise
                self.transport.wait(attempt, problem)
            else:
                return
