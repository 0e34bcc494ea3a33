"""A sender that never blocks its caller: entries go to a log on disk, a thread sends them in batches."""

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from services.common.errors import (
    BusyError,
    InvalidError,
    ModelwrightError,
    StorageFullError,
    UnavailableError,
)
from services.common.outbox.log import Log
from services.common.outbox.refused import keep_aside
from services.common.outbox.segment import Segment

Entry = bytes | dict[str, Any]
"""Bytes, or a mapping that msgpack can hold."""

SEGMENT_BYTES = 4 << 20
MAX_BATCH_BYTES = 2 << 20
"""A batch ends here too, so that it fits a gRPC message."""
ADOPT_INTERVAL_S = 5.0
"""How often the folder is looked through for logs of processes that ended."""
_RETRY = (UnavailableError, BusyError, StorageFullError, ConnectionError, TimeoutError)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_EXIT_FLUSH_S = 2.0
_FORKED, _CLOSED = "forked", "closed"
_RAW, _PACKED = b"\0", b"\1"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_log = logging.getLogger(__name__)


class Outbox:
    """Takes entries at once, keeps them on disk, and sends them in order until they are taken or refused.

    `send(batch)` is called from one thread with 1 to `max_batch` entries, as they were put. It returns when
    the receiver has them. UnavailableError, BusyError, StorageFullError, ConnectionError and TimeoutError are
    retried for ever; any other error refuses the batch: it is written to `folder`/refused, `on_refused` is
    told, and the next batch goes on. An entry is on disk when `put` returns and survives the death of the
    process; the next outbox on the folder sends it. One whose batch was in flight at that moment may be sent
    twice, so the receiver must be idempotent. Processes may share the folder. Needs POSIX file locks.
    """

    def __init__(
        self,
        folder: Path,
        send: Callable[[list[Any]], object],
        max_batch: int = 1000,
        flush_interval_s: float = 0.5,
        *,
        max_bytes: int = 1 << 30,
        on_refused: Callable[[Sequence[Any], Exception], object] | None = None,
    ) -> None:
        if max_batch < 1 or flush_interval_s <= 0 or max_bytes < SEGMENT_BYTES:
            raise InvalidError(f"max_batch and flush_interval_s must be above 0, max_bytes at least {SEGMENT_BYTES}")
        self._folder = folder
        self._send = send
        self._max_batch = max_batch
        self._interval_s = flush_interval_s
        self._max_bytes = max_bytes
        self._on_refused = on_refused
        self.dropped = 0
        """Entries not taken because the log had reached `max_bytes` or the disk was full."""
        self._lock = threading.Lock()
        self._shut = ""
        self._open()
        _OPEN.add(self)

    def put(self, entry: Entry) -> bool:
        """Keep the entry for sending and return at once; False if there was no room and it is lost.

        A mapping is encoded now, so the caller may change it afterwards.
        """
        kind, data = (_RAW, entry) if isinstance(entry, bytes) else (_PACKED, _encode(entry))
        if self._shut:
            self._reopen()
        try:
            kept = self._entries.append(kind, data)
        except StorageFullError:
            kept = False
        if not kept:
            self._drop()
        elif self._entries.waiting >= self._max_batch and not self._due.is_set():
            self._due.set()
        return kept

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Send everything put until now; True if it was taken or refused within the time."""
        if self._shut:
            return self._shut == _FORKED
        wanted = self._entries.appended
        with self._progress:
            self._due.set()
            self._wake.set()
            return self._progress.wait_for(lambda: self._entries.done >= wanted, timeout_s)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Flush for up to `timeout_s` and stop; what is left stays on disk for the next outbox on the folder.

        True if nothing was left.
        """
        if self._shut:
            self._shut = _CLOSED
            return True
        sent = self.flush(timeout_s)
        self._shut = _CLOSED
        self._stopping = True
        self._due.set()
        self._wake.set()
        self._thread.join(timeout_s + 1)
        if not self._thread.is_alive():  # Else `send` hangs; the kernel gives the log up with the process.
            self._entries.close()
        _OPEN.discard(self)
        return sent

    def __enter__(self) -> "Outbox":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @property
    def waiting(self) -> int:
        """Entries of this process that are not sent yet."""
        return self._entries.waiting

    def _open(self) -> None:
        self._entries = Log(self._folder, SEGMENT_BYTES, self._max_bytes)
        self._due, self._wake = threading.Event(), threading.Event()
        self._stopping = False
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def _after_fork(self) -> None:
        """In the child: the log, its locks and the thread are the parent's; the first put begins anew."""
        if not self._shut:
            self._entries.abandon()
            self._lock = threading.Lock()
            self._shut = _FORKED

    def _reopen(self) -> None:
        with self._lock:
            if self._shut == _FORKED:
                self._open()
                self._shut = ""
        if self._shut:
            raise InvalidError("the outbox is closed; nothing more can be put")

    def _drop(self) -> None:
        self.dropped += 1
        if self.dropped == 1:
            _log.warning("the outbox in %s is full (%d bytes); entries are lost", self._folder, self._max_bytes)

    def _run(self) -> None:
        wait_s, adopted_s = 0.0, time.monotonic()
        while not self._stopping:
            if not wait_s and not self._entries.inherited:
                self._due.wait(self._interval_s)
                self._due.clear()
            elif wait_s:
                self._wake.wait(wait_s)
                self._wake.clear()
            if time.monotonic() - adopted_s > ADOPT_INTERVAL_S:
                self._entries.adopt()
                adopted_s = time.monotonic()
            wait_s = self._send_waiting(wait_s)

    def _send_waiting(self, waited_s: float) -> float:
        """Send batches until none is left; return 0, or how long to wait before the next attempt."""
        while not self._stopping:
            segment, position, bodies = self._entries.read(self._max_batch, MAX_BATCH_BYTES)
            if segment is None or not bodies:
                break
            try:
                self._deliver([_restore(body) for body in bodies])
            except _RETRY as error:
                if not waited_s:
                    _log.warning("sending waits, entries are kept in %s: %s", self._folder, error)
                self._entries.sync()
                asked_s = error.retry_after_s if isinstance(error, BusyError) else 0.0
                return min(max(waited_s * 2, asked_s, _FIRST_WAIT_S), _LONGEST_WAIT_S)
            waited_s = 0.0
            self._mark_done(segment, position, len(bodies))
        return 0.0

    def _deliver(self, batch: list[Any]) -> None:
        try:
            self._send(batch)
        except _RETRY:
            raise
        except Exception as error:
            told = error.message if isinstance(error, ModelwrightError) else repr(error)
            path = keep_aside(self._folder, batch, told)
            _log.error("%d entries were refused and are kept in %s: %s", len(batch), path, told)
            if self._on_refused:
                self._on_refused(batch, error)

    def _mark_done(self, segment: Segment, position: int, count: int) -> None:
        with self._progress:
            self._entries.mark_done(segment, position, count)
            self._progress.notify_all()


def _restore(body: bytes) -> Any:  # noqa: ANN401 - what was put
    return body[1:] if body[:1] == _RAW else _decode(memoryview(body)[1:])


_OPEN: "weakref.WeakSet[Outbox]" = weakref.WeakSet()


def _close_all() -> None:
    for outbox in list(_OPEN):
        outbox.close(_EXIT_FLUSH_S)


def _reopen_all() -> None:
    for outbox in list(_OPEN):
        outbox._after_fork()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_reopen_all)
