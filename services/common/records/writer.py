"""Writes records into shards and names them in a manifest."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from services.common.digest import digest_bytes
from services.common.records.manifest import Blobs, Manifest, Record, Shard, to_table, write_manifest

MAX_SHARD_BYTES = 64 << 20
"""A shard ends before it passes this; a longer record has one of its own."""


@dataclass(frozen=True, kw_only=True)
class WrittenSet:
    """What a writer left in the store."""

    digest: str
    """Digest of the manifest: the set's identity."""
    manifest_size: int
    """Bytes of the manifest."""
    shards: tuple[Shard, ...]
    records: int


class RecordWriter:
    """Takes records one by one, and stores each shard as soon as it is full.

    Shards end where the content says so (a record's digest decides, as in content-defined chunking), so
    a set with a few records more or less shares most of its shards with the one it came from. Records
    with equal bytes share one place. Use it as a context manager: the scratch files go when it ends.
    """

    def __init__(self, blobs: Blobs, scratch: Path, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
        self._blobs = blobs
        self._scratch = scratch
        self._max_bytes = max_shard_bytes
        self._records: list[Record] = []
        self._places: list[tuple[int, int]] = []
        self._known: dict[str, tuple[int, int]] = {}
        self._shards: list[Shard] = []
        self._file: BinaryIO | None = None
        self._size = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove the unfinished shard, if there is one."""
        if self._file:
            self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, record: Record, data: bytes) -> None:
        """Append a record; `digest` and `length` are computed unless it carries them already."""
        if not record.digest:
            record = dataclasses.replace(record, digest=digest_bytes(data), length=len(data))
        place = self._known.get(record.digest)
        if place is None:
            place = self._known[record.digest] = self._append(record.digest, data)
        self._records.append(record)
        self._places.append(place)

    def finish(self, *, schema: dict[str, Any], statistics: dict[str, Any], parent: str = "") -> WrittenSet:
        """Store the last shard and the manifest, and return the set's digest."""
        self._flush()
        manifest = Manifest(shards=tuple(self._shards), schema=schema, statistics=statistics, parent=parent)
        path = self._scratch / "manifest.arrow"
        try:
            write_manifest(path, to_table(self._records, self._places), manifest)
            size = path.stat().st_size
            digest = self._blobs.put_file(path)
        finally:
            path.unlink(missing_ok=True)
        return WrittenSet(digest=digest, manifest_size=size, shards=manifest.shards, records=len(self._records))

    @property
    def _path(self) -> Path:
        return self._scratch / "shard.bin"

    def _append(self, digest: str, data: bytes) -> tuple[int, int]:
        if self._size and self._size + len(data) > self._max_bytes:
            self._flush()
        if self._file is None:
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        place = (len(self._shards), self._size)
        self._file.write(data)
        self._size += len(data)
        if self._ends_shard(digest, len(data)):
            self._flush()
        return place

    def _ends_shard(self, digest: str, length: int) -> bool:
        if self._size < self._max_bytes // 8:
            return False
        # A chance in proportion to the length puts an end every quarter of the limit, whatever the record size.
        return int(digest[-8:], 16) * (self._max_bytes // 4) < length << 32

    def _flush(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        self._shards.append(Shard(self._blobs.put_file(self._path), self._size))
        self._path.unlink()
        self._size = 0
