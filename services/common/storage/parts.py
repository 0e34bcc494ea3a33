"""Resumable uploads: a stream kept as parts `uploads/<id>/<offset, 20 digits>-<16 hex of its digest>`.

The digest in the key keeps two writers at one offset (a cut connection's last part and the part of its
successor) from overwriting each other: what was recorded stays what is stored.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.common.errors import InvalidError
from services.common.names import check_name
from services.common.storage.blobs import CorruptError
from services.common.storage.store import Buffer, Storage

PART_BYTES = 8 << 20
"""Size of a part; the last one before an end or a break may be shorter."""
PARALLEL_PUTS = 4
"""Parts of one upload that travel to the storage at once; each holds PART_BYTES of memory."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stored piece of an upload."""

    offset: int
    """Where it begins in the upload, in bytes."""
    size: int
    """Bytes."""
    digest: str
    """`sha256:<hex>` of its bytes."""


def part_key(upload_id: str, offset: int, digest: str) -> str:
    """Return the storage key of a part."""
    return f"{_prefix(upload_id)}{offset:020d}-{digest.removeprefix('sha256:')[:16]}"


def put_part(storage: Storage, upload_id: str, offset: int, data: Buffer) -> Part:
    """Hash and store one part. Safe to repeat."""
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    storage.put(part_key(upload_id, offset, digest), data, digest=digest)
    return Part(offset=offset, size=len(data), digest=digest)


def read_parts(storage: Storage, upload_id: str, parts: Iterable[Part]) -> Iterator[bytes]:
    """Yield the bytes of the recorded parts in order, each part verified before it is given.

    Raises:
        CorruptError: a part is damaged, or there is a gap between two.
        NotFoundError: a part is gone.
    """
    reached = 0
    for part in sorted(parts, key=lambda part: part.offset):
        if part.offset != reached:
            raise CorruptError(f"upload {upload_id} has a gap: bytes {reached} to {part.offset} were never recorded")
        data = storage.get(part_key(upload_id, part.offset, part.digest))
        if len(data) != part.size or "sha256:" + hashlib.sha256(data).hexdigest() != part.digest:
            raise CorruptError(f"upload {upload_id} is damaged at byte {part.offset}; delete it and upload again")
        reached += part.size
        yield data


def delete_parts(storage: Storage, upload_id: str) -> None:
    """Remove all parts of an upload."""
    for found in list(storage.list(_prefix(upload_id))):
        storage.delete(found.key)


class PartCutter:
    """Cuts a stream of chunks into parts: `feed` returns whole ones, `rest` what is left."""

    def __init__(self, offset: int) -> None:
        if offset < 0:
            raise InvalidError(f"offset {offset} is negative; go on where the upload stopped", field="offset")
        self.offset = offset
        """Where the next part begins."""
        self._held: list[Buffer] = []
        self._size = 0

    def feed(self, chunk: Buffer) -> Iterator[tuple[int, Buffer]]:
        """Take a chunk and yield (offset, bytes) of each part it completes."""
        view = memoryview(chunk)
        while self._size + len(view) >= PART_BYTES:
            taken = PART_BYTES - self._size
            self._hold(view[:taken])
            view = view[taken:]
            yield from self.rest()
        self._hold(view)

    def rest(self) -> Iterator[tuple[int, Buffer]]:
        """Yield (offset, bytes) of what is held, if anything is."""
        if self._size:
            data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
            offset, self.offset = self.offset, self.offset + self._size
            self._held, self._size = [], 0
            yield offset, data

    def _hold(self, view: memoryview) -> None:
        if len(view):
            self._held.append(view)
            self._size += len(view)


def _prefix(upload_id: str) -> str:
    return f"uploads/{check_name(upload_id, 'upload id')}/"
