"""Local copies of manifests and shards."""

import fcntl
import mmap
import os
import uuid
from pathlib import Path

from services.common.digest import digest_file
from services.common.records.manifest import Blobs


class ShardCache:
    """A folder of blobs under their digests, shared by processes.

    A file is fetched beside its name and moved into place, so no reader sees half of one; one found from
    an earlier process is verified before its first use here, and fetched again if it is damaged.
    """

    def __init__(self, blobs: Blobs, folder: Path, limit_bytes: int | None = None) -> None:
        self._blobs = blobs
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._verified: set[str] = set()

    def path(self, digest: str) -> Path:
        """Return a local, verified file with the blob's bytes."""
        path = self._folder / digest.removeprefix("sha256:")
        if digest in self._verified and path.exists():
            return path
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f".{path.name}.lock").open("w") as lock:
            # One process fetches; the others wait for it. The kernel drops the lock of one that died.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or digest_file(path) != digest:
                self._fetch(digest, path)
        self._verified.add(digest)
        os.utime(path)
        self._evict(keep=path)
        return path

    def map(self, digest: str) -> memoryview:
        """Return the blob's bytes, mapped; they stay readable after the file has been evicted."""
        with self.path(digest).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def _fetch(self, digest: str, path: Path) -> None:
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            self._blobs.fetch(digest, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _evict(self, keep: Path) -> None:
        if self._limit_bytes is None:
            return
        files = [path for path in self._folder.iterdir() if not path.name.startswith(".") and path != keep]
        ages = sorted((stat.st_mtime, stat.st_size, path) for path in files if (stat := _stat(path)))
        total = sum(size for _, size, _ in ages) + keep.stat().st_size
        for _, size, path in ages:
            if total <= self._limit_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
