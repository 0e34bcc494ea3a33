"""Records in an append-only file, each behind its length and checksum, and how far they were sent."""

import fcntl
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

FRAME = struct.Struct("<II")
"""Length and CRC-32 of the record that follows."""
POSITION = struct.Struct("<Q")
BATCH_BYTES = 1 << 20
ROTATE_BYTES = 8 << 20
"""A file this long that was sent whole begins anew."""


class SpoolFile:
    """One process's records. Whoever holds the lock on the file owns it; the lock dies with its process.

    Raises:
        BlockingIOError: another process owns it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = path.with_suffix(".sent")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise
        self.sent = self._read_position()

    @property
    def is_empty(self) -> bool:
        """Whether everything was sent."""
        return self.sent >= os.fstat(self._file).st_size

    def append(self, records: Sequence[bytes]) -> None:
        """Write records behind the others with one call."""
        frames = (part for record in records for part in (FRAME.pack(len(record), zlib.crc32(record)), record))
        data = memoryview(b"".join(frames))
        while data:
            data = data[os.write(self._file, data) :]

    def read(self) -> tuple[list[bytes], int]:
        """Return unsent records, about `BATCH_BYTES` of them, and the position behind them.

        A record that was cut by the death of its process ends the file.
        """
        records: list[bytes] = []
        end = self.sent
        data = os.pread(self._file, BATCH_BYTES, self.sent)
        while True:
            start = end - self.sent
            if len(data) < start + FRAME.size:
                break
            length, checksum = FRAME.unpack_from(data, start)
            if len(data) < start + FRAME.size + length:
                if records or len(data) < BATCH_BYTES:
                    break
                data = os.pread(self._file, FRAME.size + length, self.sent)
                if len(data) < FRAME.size + length:
                    break
            record = data[start + FRAME.size : start + FRAME.size + length]
            if zlib.crc32(record) != checksum:
                break
            records.append(record)
            end += FRAME.size + length
        return records, end

    def acknowledge(self, position: int) -> None:
        """Note that everything before `position` was sent."""
        self._write_position(position)
        self.sent = position

    def rotate(self) -> None:
        """Begin anew if the file is long and was sent whole; nobody may append meanwhile."""
        if self.sent >= ROTATE_BYTES and self.is_empty:
            # In this order a crash in between repeats records, which changes nothing, and loses none.
            self.acknowledge(0)
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Let go of the file; one that was sent whole is removed."""
        if self.is_empty:
            self.path.unlink(missing_ok=True)
            self._position.unlink(missing_ok=True)
        os.close(self._file)

    def remove(self) -> None:
        """Remove the file with whatever can no longer be read of it."""
        self.path.unlink(missing_ok=True)
        self._position.unlink(missing_ok=True)
        os.close(self._file)

    def abandon(self) -> None:
        """Close a forked child's copy of the handle; the file stays its parent's."""
        os.close(self._file)

    def _read_position(self) -> int:
        try:
            return int(POSITION.unpack(self._position.read_bytes())[0])
        except (FileNotFoundError, struct.error):
            return 0

    def _write_position(self, position: int) -> None:
        part = self._position.with_suffix(".part")
        part.write_bytes(POSITION.pack(position))
        os.replace(part, self._position)
