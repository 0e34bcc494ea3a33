"""An upload's parts in the storage, read as one seekable file."""

import bisect
import io
from collections.abc import Callable, Sequence
from itertools import accumulate

READ_AHEAD_BYTES = 4 << 20

ReadRange = Callable[[str, int, int], bytes]
"""Returns `length` bytes of the object `key` from `offset`."""


class PartsFile(io.RawIOBase):
    """Reads objects laid end to end; wrap it in `io.BufferedReader` for reading ahead."""

    def __init__(self, parts: Sequence[tuple[str, int]], read_range: ReadRange) -> None:
        super().__init__()
        self._keys = [key for key, _ in parts]
        self._ends = list(accumulate(size for _, size in parts))
        self._read_range = read_range
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in the upload."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ends[-1] if self._ends else 0}
        self._position = max(0, start[whence] + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any writable buffer
        """Fill the buffer from one part, and return how many bytes there were."""
        part = bisect.bisect_right(self._ends, self._position)
        if part == len(self._ends):
            return 0
        start = self._ends[part - 1] if part else 0
        length = min(len(buffer), self._ends[part] - self._position)
        data = self._read_range(self._keys[part], self._position - start, length)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_parts(parts: Sequence[tuple[str, int]], read_range: ReadRange) -> io.BufferedReader:
    """Return the parts as one buffered, seekable file."""
    return io.BufferedReader(PartsFile(parts, read_range), READ_AHEAD_BYTES)
