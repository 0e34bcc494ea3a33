"""A storage in an S3 bucket, through the `minio` SDK."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO

from urllib3.response import BaseHTTPResponse

from services.common.errors import NotFoundError
from services.common.storage.keys import check_key, check_prefix
from services.common.storage.s3_client import PART_BYTES, S3Client
from services.common.storage.s3_errors import translated
from services.common.storage.store import CHUNK_BYTES, Buffer, Source, Stat, check_range, chunks_of


class S3Storage:
    """Keeps objects in `bucket` under `prefix`, which is empty or ends with a slash.

    `endpoint` names the service in errors.
    """

    def __init__(self, client: S3Client, bucket: str, prefix: str, endpoint: str) -> None:
        self._client = client
        self.bucket = bucket
        self.prefix = prefix
        self.endpoint = endpoint

    def make_bucket(self) -> None:
        """Create the bucket unless it is there."""
        with translated(self.endpoint, self.bucket):
            if not self._client.bucket_exists(bucket_name=self.bucket):
                self._client.make_bucket(bucket_name=self.bucket)

    def put(self, key: str, source: Source, *, digest: str = "") -> int:
        """See Storage. Over 16 MiB it goes in parts, four at once."""
        name = self._name(key)
        if isinstance(source, Buffer) and len(source) <= 4 * PART_BYTES:
            with translated(self.endpoint, key):
                self._client.put_bytes(self.bucket, name, source, digest)
            return len(source)
        return self._put_parts(name, key, _parts(_chunks(source)))

    def put_named(self, chunks: Iterable[Buffer], name: Callable[[], str | None]) -> int:
        """See Storage. S3 cannot rename, so the chunks wait in memory, or in a temporary file past 16 MiB."""
        with tempfile.SpooledTemporaryFile(max_size=PART_BYTES) as waiting:
            for chunk in chunks:
                waiting.write(chunk)
            size = waiting.tell()
            waiting.seek(0)
            key = name()
            return size if key is None else self.put(key, _read_parts(waiting))

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """See Storage."""
        return b"".join(self.stream(key, offset, length))

    def stream(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Storage. A missing object is told at the call, not at the first chunk."""
        check_range(offset, length)
        name = self._name(key)
        if length == 0:
            self.stat(key)
            return iter(())
        try:
            with translated(self.endpoint, key):
                response = self._client.get_object(
                    bucket_name=self.bucket, object_name=name, offset=offset, length=length or 0
                )
        except EOFError:
            return iter(())
        return self._pieces(response, key)

    def stat(self, key: str) -> Stat:
        """See Storage."""
        with translated(self.endpoint, key):
            found = self._client.stat_object(bucket_name=self.bucket, object_name=self._name(key))
        modified = found.last_modified.timestamp() if found.last_modified else 0.0
        return Stat(key=key, size=found.size or 0, modified_s=modified)

    def exists(self, key: str) -> bool:
        """See Storage."""
        try:
            self.stat(key)
        except NotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        """See Storage."""
        return self.stat(key).size

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """See Storage."""
        found = self._client.list_objects(
            bucket_name=self.bucket, prefix=self.prefix + check_prefix(prefix), recursive=True
        )
        with translated(self.endpoint, prefix):
            for item in found:
                modified = item.last_modified.timestamp() if item.last_modified else 0.0
                key = (item.object_name or "").removeprefix(self.prefix)
                yield Stat(key=key, size=item.size or 0, modified_s=modified)

    def delete(self, key: str) -> None:
        """See Storage."""
        try:
            with translated(self.endpoint, key):
                self._client.remove_object(bucket_name=self.bucket, object_name=self._name(key))
        except NotFoundError:
            return

    def presign_get(self, key: str, expires_s: int = 3600) -> str | None:
        """See Storage. No more than 7 days."""
        with translated(self.endpoint, key):
            return self._client.presigned_get_object(
                bucket_name=self.bucket, object_name=self._name(key), expires=timedelta(seconds=expires_s)
            )

    def presign_put(self, key: str, expires_s: int = 3600) -> str | None:
        """See Storage. No more than 7 days."""
        with translated(self.endpoint, key):
            return self._client.presigned_put_object(
                bucket_name=self.bucket, object_name=self._name(key), expires=timedelta(seconds=expires_s)
            )

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _put_parts(self, name: str, key: str, parts: Iterator[bytes]) -> int:
        first, second = next(parts, b""), next(parts, None)
        with translated(self.endpoint, key):
            if second is None:
                self._client.put_bytes(self.bucket, name, first)
                return len(first)
            return self._client.put_multipart(self.bucket, name, _again(first, second, parts))

    def _pieces(self, response: BaseHTTPResponse, key: str) -> Iterator[bytes]:
        try:
            with translated(self.endpoint, key):
                yield from response.stream(CHUNK_BYTES)
        finally:
            response.close()
            response.release_conn()


def _chunks(source: Source) -> Iterable[Buffer]:
    if isinstance(source, Path):
        return chunks_of(source)
    return [source] if isinstance(source, Buffer) else source


def _parts(chunks: Iterable[Buffer]) -> Iterator[bytes]:
    """Cut chunks of any size into parts of PART_BYTES."""
    held: list[memoryview] = []
    size = 0
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            piece = view[: PART_BYTES - size]
            view = view[len(piece) :]
            held.append(piece)
            size += len(piece)
            if size == PART_BYTES:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


def _read_parts(file: IO[bytes]) -> Iterator[bytes]:
    while part := file.read(PART_BYTES):
        yield part


def _again(first: bytes, second: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest
