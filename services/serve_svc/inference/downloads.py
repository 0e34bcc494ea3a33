"""Packages from the shared storage, through a cache on the local disk."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.common.storage import BlobCache, BlobStore, open_storage
from services.serve_svc.engine.package import SERVED_FILES
from services.serve_svc.settings import InferenceSettings


class Downloads:
    """Opens packages by their files' digests.

    The storage is opened with the first package, so that a server starts while it is away.
    """

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self._cache: BlobCache | None = None

    @contextmanager
    def open(self, files: Sequence[tuple[str, str]]) -> Iterator[Path]:
        """Give a folder with those of a package's files (path, digest) that serving reads, for the block's time.

        Raises:
            UnavailableError: the storage is away.
            NotFoundError: a blob is gone.
            StorageFullError: the local disk is full.
        """
        cache = self._open_cache()
        with tempfile.TemporaryDirectory(prefix="modelwright-package-") as name:
            folder = Path(name)
            for path, digest in files:
                if path in SERVED_FILES:
                    (folder / path).symlink_to(cache.path(digest))
            yield folder

    def _open_cache(self) -> BlobCache:
        if self._cache is None:
            blobs = BlobStore(open_storage(self._settings))
            folder = self._settings.home / "cache" / "inference"
            self._cache = BlobCache(folder.absolute(), blobs, self._settings.cache_bytes)
        return self._cache
