"""A folder of blobs as a tar that is made while it is sent."""

import io
import tarfile
from collections.abc import AsyncIterator, Iterator, Sequence

from starlette.concurrency import iterate_in_threadpool

from services.common.storage import BlobStore

BLOCK = tarfile.BLOCKSIZE


def tar_stream(blobs: BlobStore, files: Sequence[tuple[str, str, int]]) -> AsyncIterator[bytes]:
    """Yield a tar of (path, digest, size): sorted, with zero times and owners, so that it is the same every time."""
    return iterate_in_threadpool(_tar(blobs, files))


def _tar(blobs: BlobStore, files: Sequence[tuple[str, str, int]]) -> Iterator[bytes]:
    for path, digest, size in sorted(files):
        info = tarfile.TarInfo(path)
        info.size, info.mode = size, 0o644
        yield info.tobuf(tarfile.PAX_FORMAT)
        yield from blobs.stream(digest)
        yield b"\0" * (-size % BLOCK)
    end = io.BytesIO(b"\0" * (2 * BLOCK))
    yield end.getvalue()
