"""An upload's parts in the storage, read as one seekable file, and the index that names them."""

import bisect
import io
import json
from collections.abc import Sequence
from itertools import accumulate

from services.common.digest import digest_bytes
from services.common.storage import CorruptError, Part, Storage, part_key

BUFFER_BYTES = 256 << 10


def index_key(upload_id: str) -> str:
    """Return the storage key of an upload's index; it lies beside the parts and goes with them."""
    return f"uploads/{upload_id}/index.json"


def write_index(storage: Storage, upload_id: str, parts: Sequence[Part]) -> None:
    """Keep the recorded parts beside them, for the worker that will read them."""
    rows = [[part.offset, part.size, part.digest] for part in parts]
    storage.put(index_key(upload_id), json.dumps(rows).encode())


def read_index(storage: Storage, upload_id: str) -> list[Part]:
    """Return the parts of a complete upload in order."""
    rows = json.loads(storage.get(index_key(upload_id)))
    return [Part(offset=offset, size=size, digest=digest) for offset, size, digest in rows]


class PartsFile(io.RawIOBase):
    """Parts laid end to end. A part is read whole and verified when it is first needed; the last one is kept."""

    def __init__(self, storage: Storage, upload_id: str, parts: Sequence[Part]) -> None:
        super().__init__()
        self._storage = storage
        self._upload_id = upload_id
        self._parts = parts
        self._ends = list(accumulate(part.size for part in parts))
        self._position = 0
        self._held: tuple[int, memoryview] = (-1, memoryview(b""))

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
        """Fill the buffer from one part, and return how many bytes there were.

        Raises:
            CorruptError: the part does not have the digest it was recorded with.
        """
        number = bisect.bisect_right(self._ends, self._position)
        if number == len(self._ends):
            return 0
        start = self._position - (self._ends[number - 1] if number else 0)
        data = self._part(number)[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _part(self, number: int) -> memoryview:
        if self._held[0] != number:
            part = self._parts[number]
            data = self._storage.get(part_key(self._upload_id, part.offset, part.digest))
            if digest_bytes(data) != part.digest:
                raise CorruptError(
                    f"upload {self._upload_id} is damaged at byte {part.offset}; delete it and upload again"
                )
            self._held = (number, memoryview(data))
        return self._held[1]


def open_parts(storage: Storage, upload_id: str, parts: Sequence[Part]) -> io.BufferedReader:
    """Return the parts as one buffered, seekable file of verified bytes."""
    return io.BufferedReader(PartsFile(storage, upload_id, parts), BUFFER_BYTES)
