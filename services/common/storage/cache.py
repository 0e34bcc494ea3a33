"""Verified blobs on the local disk, for workers and inference servers."""

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.digest import check_digest, digest_file
from services.common.storage.blobs import BlobStore
from services.common.storage.files import written_aside

GRACE_S = 60.0
"""A file used within this is not evicted: another process may be about to open it."""


class BlobCache:
    """Keeps up to about `max_bytes` of blobs as files in `folder`, the least recently used go first.

    A file is verified when it is fetched and when this process first uses it; a damaged one is fetched
    again. Threads and processes may share the folder.
    """

    def __init__(self, folder: Path, blobs: BlobStore, max_bytes: int) -> None:
        self.folder = folder
        self.blobs = blobs
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._fetching: dict[str, threading.Lock] = {}
        self._verified: set[str] = set()
        self._held: Counter[str] = Counter()

    def path(self, digest: str) -> Path:
        """Return a local read-only file with the blob's verified bytes, fetched if need be.

        It stays for GRACE_S at least; use `hold` for longer. Raises NotFoundError, CorruptError, StorageFullError.
        """
        path = self._path(digest)
        with self._lock:
            fetching = self._fetching.setdefault(digest, threading.Lock())
        with fetching:
            if not self._usable(digest, path):
                self.blobs.fetch(digest, path)
                path.chmod(0o444)
                self._verified.add(digest)
                self._evict()
            os.utime(path)
        return path

    @contextmanager
    def hold(self, digest: str) -> Iterator[Path]:
        """Give the file and keep this process from evicting it within the block."""
        with self._lock:
            self._held[digest] += 1
        try:
            yield self.path(digest)
        finally:
            with self._lock:
                self._held[digest] -= 1

    def read(self, digest: str) -> bytes:
        """Return the blob's bytes."""
        return self.path(digest).read_bytes()

    def fetch(self, digest: str, target: Path) -> Path:
        """Copy the blob to `target`, whole or not at all, and return it."""
        with self.hold(digest) as path, path.open("rb") as source, written_aside(target) as file:
            shutil.copyfileobj(source, file, 1 << 20)
        return target

    def _path(self, digest: str) -> Path:
        text = check_digest(digest, "digest").removeprefix("sha256:")
        return self.folder / text[:2] / text[2:]

    def _usable(self, digest: str, path: Path) -> bool:
        if not path.is_file():
            return False
        if digest not in self._verified:
            if digest_file(path) != digest:
                return False
            self._verified.add(digest)
        return True

    def _evict(self) -> None:
        files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self.folder.glob("??/[0-9a-f]*"))
        total = sum(size for _, size, _ in files)
        for used_s, size, path in files:
            if total <= self.max_bytes or time.time() - used_s < GRACE_S:
                return
            digest = f"sha256:{path.parent.name}{path.name}"
            with self._lock:
                if self._held[digest]:
                    continue
                path.unlink(missing_ok=True)
                self._verified.discard(digest)
            total -= size
