"""The log of one outbox: its own segments and those that ended processes left in the folder."""

import threading
from collections import deque
from pathlib import Path

from services.common.errors import InvalidError
from services.common.ids import new_id
from services.common.outbox.segment import FRAME_BYTES, START, SUFFIX, Segment


class Log:
    """Appends from any thread, reads from one. Names sort by age, so reading goes from the oldest on."""

    def __init__(self, folder: Path, segment_bytes: int, max_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._name = new_id("log")
        self._lock = threading.Lock()
        self._count = 0
        self._kept_bytes = 0
        self._tail: Segment | None = None
        self._segments: deque[Segment] = deque()
        self._adopted: deque[Segment] = deque()
        self.appended = 0
        """Entries appended by this process."""
        self.done = 0
        """Entries of this process that are done."""
        self.adopt()

    @property
    def waiting(self) -> int:
        """Own entries not done yet."""
        return self.appended - self.done

    @property
    def inherited(self) -> bool:
        """Whether entries of ended processes are left."""
        return bool(self._adopted)

    def append(self, kind: bytes, data: bytes) -> bool:
        """Keep an entry; False if the log has reached its `max_bytes`.

        Raises:
            InvalidError: the entry is larger than a segment.
            StorageFullError: the disk is full.
        """
        with self._lock:
            tail = self._tail
            if tail is None or not tail.append(kind, data):
                if len(data) + 1 + FRAME_BYTES + START > self._segment_bytes:
                    raise InvalidError(
                        f"an entry of {len(data)} bytes is larger than a segment ({self._segment_bytes})"
                    )
                if self._kept_bytes + self._segment_bytes > self._max_bytes:
                    return False
                self._new_segment().append(kind, data)
            self.appended += 1
        return True

    def adopt(self) -> None:
        """Take over the segments of processes that have ended."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            if path.name.startswith(self._name):
                continue
            segment = Segment.adopt(path)
            if segment:
                self._adopted.append(segment)

    def read(self, count: int, max_bytes: int) -> tuple["Segment | None", int, list[bytes]]:
        """Return the oldest segment with entries, the position behind them, and up to `count` of them."""
        while segment := self._oldest():
            position, found, size = segment.done, list[bytes](), 0
            for position, body in segment.entries(segment.done):  # noqa: B007 - the last position is returned
                found.append(body)
                size += len(body)
                if len(found) >= count or size >= max_bytes:
                    break
            if found or not self._finish(segment):
                return segment, position, found
        return None, 0, []

    def mark_done(self, segment: Segment, position: int, count: int) -> None:
        """Note that `count` entries up to `position` need no more sending."""
        segment.mark_done(position)
        if segment.own:
            self.done += count

    def sync(self) -> None:
        """Make what waits survive power loss."""
        with self._lock:
            segments = [*self._adopted, *self._segments]
        for segment in segments:  # Only the caller's thread removes segments, so these stay open.
            segment.sync()

    def close(self) -> None:
        """Leave what is not done to the next process, remove the rest."""
        with self._lock:
            self._tail = None
        while (segment := self._oldest()) and self._finish(segment):
            pass
        self.sync()
        self.abandon()

    def abandon(self) -> None:
        """Forget every segment without touching it."""
        for segment in [*self._adopted, *self._segments]:
            segment.close()
        self._adopted.clear()
        self._segments.clear()

    def _oldest(self) -> Segment | None:
        found = self._adopted or self._segments
        return found[0] if found else None

    def _finish(self, segment: Segment) -> bool:
        """Remove a segment of which nothing is left to read and nothing more will be written."""
        with self._lock:
            if segment is self._tail or next(segment.entries(segment.done), None):
                return False
            if self._adopted and segment is self._adopted[0]:
                self._adopted.popleft()
            else:
                self._segments.popleft()
                self._kept_bytes -= segment.size
        segment.remove()
        return True

    def _new_segment(self) -> Segment:
        path = self._folder / f"{self._name}.{self._count:08d}{SUFFIX}"
        segment = Segment.create(path, self._segment_bytes)
        if self._tail:
            self._tail.sealed = True
            if self._tail is not self._oldest():  # That one is being read.
                self._tail.park()
        self._tail = segment
        self._count += 1
        self._kept_bytes += segment.size
        self._segments.append(segment)
        return segment
