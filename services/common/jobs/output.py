"""A child's output as numbered lines."""

import os
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice

from services.common.jobs.job import LogLine

MAX_PENDING = 20_000
"""Lines kept while the service is away; older ones are dropped and counted."""
CHUNK_BYTES = 65536


class LineBuffer:
    """Splits bytes into lines, numbers them, and keeps them until they are known to be safe."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque()
        self._rest = b""
        self._seq = 0
        self._dropped = 0

    @property
    def pending(self) -> bool:
        """Whether lines wait to be sent."""
        return bool(self._lines)

    def read(self, descriptor: int) -> bool:
        """Take what the descriptor has; False at its end."""
        try:
            data = os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        # A progress bar rewrites its line with carriage returns: only its last state is a line.
        *whole, self._rest = (self._rest + data).split(b"\n")
        if not data and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            self._add(line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode(errors="replace"))
        return bool(data)

    def first(self, count: int) -> Sequence[LogLine]:
        """Return the oldest lines."""
        return list(islice(self._lines, count))

    def drop(self, count: int) -> None:
        """Forget the oldest lines: they are safe."""
        for _ in range(min(count, len(self._lines))):
            self._lines.popleft()

    def _add(self, text: str) -> None:
        self._seq += 1
        self._lines.append(LogLine(seq=self._seq, time=time.time(), stream="stdout", text=text))
        if len(self._lines) > MAX_PENDING:
            self._lines.popleft()
            self._dropped += 1
