"""One file of an outbox's log: entries appended through a memory map, acknowledged in place.

A stored entry survives the process at once (the page cache belongs to the kernel), and power loss after
`sync`. Layout: MAGIC, position up to which entries are done (u64), then for each entry its length (u32,
written last, 0: no more), CRC-32 and bytes.
"""

import errno
import fcntl
import mmap
import os
import struct
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path

from services.common.errors import StorageFullError

MAGIC = b"MWOUTBX1"
SUFFIX = ".wal"
_DONE = struct.Struct("<Q")
_FRAME = struct.Struct("<II")
_LENGTH = struct.Struct("<I")
START = len(MAGIC) + _DONE.size
"""Where the first entry stands."""
FRAME_BYTES = _FRAME.size
"""What an entry takes beside its own bytes."""


class Segment:
    """A mapped file under an exclusive lock, which the kernel drops when its process ends."""

    def __init__(self, path: Path, descriptor: int, *, own: bool) -> None:
        self.path = path
        self.own = own
        """Whether this process made it; False: adopted."""
        self._descriptor = descriptor
        self._mapped: mmap.mmap | None = None
        self._synced = False
        self.size = os.fstat(descriptor).st_size
        """Bytes of the file."""
        (self.done,) = _DONE.unpack(os.pread(descriptor, _DONE.size, len(MAGIC)))
        """Position of the first entry that is not done."""
        self.sealed = not own
        """Whether nothing more will be appended."""
        self.end = START
        """Position behind the last entry appended or read."""

    @classmethod
    def create(cls, path: Path, size: int) -> "Segment":
        """Make and lock a file of `size` bytes; it gets its name when it is locked.

        Raises:
            StorageFullError: the disk has no room for it. Room is taken now, for a write to a map cannot fail.
        """
        aside = path.with_name(f".{uuid.uuid4().hex}")
        descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            os.pwrite(descriptor, MAGIC + _DONE.pack(START), 0)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.rename(aside, path)
            return cls(path, descriptor, own=True)
        except OSError as error:
            os.close(descriptor)
            aside.unlink(missing_ok=True)
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise StorageFullError(f"no space left for the outbox in {path.parent}; free space") from error
            raise

    @classmethod
    def adopt(cls, path: Path) -> "Segment | None":
        """Open a file whose process has ended; None if it is in use, gone, or no segment."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(descriptor)
            if found.st_nlink and found.st_size >= START and os.pread(descriptor, len(MAGIC), 0) == MAGIC:
                return cls(path, descriptor, own=False)
        except BlockingIOError:
            pass
        os.close(descriptor)
        return None

    def append(self, kind: bytes, data: bytes) -> bool:
        """Add an entry of one byte of `kind` and `data`; False if there is no room for it."""
        body = kind + data
        start, stop = self.end + FRAME_BYTES, self.end + FRAME_BYTES + len(body)
        if stop > self.size:
            return False
        mapped = self._mapped or self._map
        mapped[start:stop] = body
        # The length makes the entry count: it is written last, so a killed process leaves no half entry.
        _FRAME.pack_into(mapped, self.end, 0, zlib.crc32(body))
        _LENGTH.pack_into(mapped, self.end, len(body))
        self.end = stop
        return True

    def entries(self, position: int) -> Iterator[tuple[int, bytes]]:
        """Yield (position behind it, kind and data) of the entries from `position` on; a damaged one ends them."""
        while position + FRAME_BYTES < self.size:
            length, check = _FRAME.unpack_from(self._map, position)
            start, stop = position + FRAME_BYTES, position + FRAME_BYTES + length
            if not length or stop > self.size:
                return
            body = self._map[start:stop]
            if zlib.crc32(body) != check:
                return
            position = stop
            yield position, body

    def mark_done(self, position: int) -> None:
        """Note that everything before `position` needs no more sending; survives the process."""
        self.done = position
        _DONE.pack_into(self._map, len(MAGIC), position)

    def sync(self) -> None:
        """Make the entries survive power loss; once for a sealed segment."""
        if not self._synced:
            self._synced = self.sealed
            os.fsync(self._descriptor)

    def park(self) -> None:
        """Give the map's memory back until the segment is read again; the file keeps its bytes and its lock."""
        if self._mapped is not None:
            self._mapped.close()
            self._mapped = None

    def remove(self) -> None:
        """Delete the file: all of it is done."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave the file to the next process."""
        self.park()
        os.close(self._descriptor)

    @property
    def _map(self) -> mmap.mmap:
        if self._mapped is None:
            self._mapped = mmap.mmap(self._descriptor, 0)
        return self._mapped
