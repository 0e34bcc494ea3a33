"""Content-addressed bytes: `blobs/sha256/<2 hex>/<62 hex>`, written once, verified when read."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.common.digest import check_digest, digest_bytes, digest_file
from services.common.errors import ModelwrightError, NotFoundError
from services.common.storage.files import written_aside
from services.common.storage.store import Buffer, Storage

PREFIX = "blobs/sha256/"
FRESH_S = 6 * 3600.0
"""An older blob is written again when it is put, so that a collector sees that it is wanted."""


class CorruptError(ModelwrightError):
    """Stored bytes do not have the digest they are kept under."""

    title = "Stored data is damaged"


@dataclass(frozen=True, kw_only=True)
class BlobStat:
    """A blob as a collector sees it."""

    digest: str
    """`sha256:<hex>`."""
    size: int
    """Bytes."""
    age_s: float
    """Seconds since it was written."""


def blob_key(digest: str) -> str:
    """Return the storage key of a digest."""
    text = check_digest(digest, "digest").removeprefix("sha256:")
    return f"{PREFIX}{text[:2]}/{text[2:]}"


class BlobStore:
    """Blobs over any storage. Putting what was put lately writes nothing."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def put_bytes(self, data: Buffer) -> str:
        """Keep the bytes and return their digest."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if not self._is_fresh(digest):
            self.storage.put(blob_key(digest), data, digest=digest)
        return digest

    def put_file(self, path: Path) -> str:
        """Keep the file's bytes and return their digest. It must not change meanwhile."""
        digest = digest_file(path)
        if not self._is_fresh(digest):
            self.storage.put(blob_key(digest), path)
        return digest

    def put_stream(self, chunks: Iterable[bytes], *, expected: str = "") -> str:
        """Keep the chunks, hashed as they pass, and return their digest.

        Raises:
            CorruptError: their digest is not the `expected` one; nothing is kept.
        """
        state = hashlib.sha256()

        def name() -> str | None:
            digest = "sha256:" + state.hexdigest()
            if expected and digest != expected:
                raise CorruptError(f"the bytes received have digest {digest}, not {expected}; send them again")
            return None if self._is_fresh(digest) else blob_key(digest)

        self.storage.put_named(_hashed(chunks, state), name)
        return "sha256:" + state.hexdigest()

    def read(self, digest: str) -> bytes:
        """Return the verified bytes, or raise NotFoundError or CorruptError."""
        data = self.storage.get(blob_key(digest))
        _verify(digest, digest_bytes(data))
        return data

    def stream(self, digest: str) -> Iterator[bytes]:
        """Yield the bytes in chunks; after the last, raise CorruptError if they were not the digest's."""
        state = hashlib.sha256()
        yield from _hashed(self.storage.stream(blob_key(digest)), state)
        _verify(digest, "sha256:" + state.hexdigest())

    def read_range(self, digest: str, offset: int, length: int | None = None) -> bytes:
        """Return part of the bytes; a part alone cannot be verified against the digest."""
        return self.storage.get(blob_key(digest), offset, length)

    def open_range(self, digest: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield part of the bytes in chunks of up to 1 MiB, not verified."""
        return self.storage.stream(blob_key(digest), offset, length)

    def fetch(self, digest: str, target: Path) -> Path:
        """Write the verified bytes to `target`, whole or not at all, and return it."""
        with written_aside(target) as file:
            for chunk in self.stream(digest):
                file.write(chunk)
        return target

    def exists(self, digest: str) -> bool:
        """Say whether the blob is kept."""
        return self.storage.exists(blob_key(digest))

    def size(self, digest: str) -> int:
        """Return its bytes, or raise NotFoundError."""
        return self.storage.size(blob_key(digest))

    def list_digests(self) -> Iterator[BlobStat]:
        """Yield every blob with its age, for a collector."""
        now_s = time.time()
        for found in self.storage.list(PREFIX):
            digest = "sha256:" + found.key.removeprefix(PREFIX).replace("/", "")
            yield BlobStat(digest=digest, size=found.size, age_s=max(0.0, now_s - found.modified_s))

    def age_s(self, digest: str) -> float:
        """Return the seconds since the blob was written, or raise NotFoundError."""
        return max(0.0, time.time() - self.storage.stat(blob_key(digest)).modified_s)

    def delete(self, digest: str) -> None:
        """Remove the blob; one that is absent is no error."""
        self.storage.delete(blob_key(digest))

    def presign_get(self, digest: str, expires_s: int = 3600) -> str | None:
        """Return an address that gives the blob without credentials, or None where the store has none."""
        return self.storage.presign_get(blob_key(digest), expires_s)

    def _is_fresh(self, digest: str) -> bool:
        try:
            return self.age_s(digest) < FRESH_S
        except NotFoundError:
            return False


def _hashed(chunks: Iterable[bytes], state: "hashlib._Hash") -> Iterator[bytes]:
    for chunk in chunks:
        state.update(chunk)
        yield chunk


def _verify(digest: str, found: str) -> None:
    if digest != found:
        raise CorruptError(
            f"blob {digest} is damaged in the storage: its bytes have digest {found}; "
            "delete it and put the original again"
        )
