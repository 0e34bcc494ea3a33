"""Disk first, then the server: two threads that keep the training from waiting for either."""

import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from modelwright.tracking.spoolfile import SpoolFile
from services.common.errors import UnavailableError
from services.common.ids import new_id

LOGGER = logging.getLogger("modelwright.tracking")
WRITE_INTERVAL_S = 0.02
"""How long a record may be in memory only: what a killed process can lose."""
DISK_PAUSE_S = 1.0
MAX_BACKOFF_S = 5.0
GIVE_UP_S = 3.0
"""A server that failed for this long is not waited for at the end of a run."""
SUFFIX = ".spool"

Deliver = Callable[[Sequence[bytes]], None]
"""Sends records; raises `UnavailableError` if they shall be sent again later."""


class Spool:
    """Takes records in microseconds, writes them to disk within `WRITE_INTERVAL_S`, sends them in order.

    Args:
        folder: where the file lies; files of dead processes in it are sent first.
        deliver: sends a batch.
    """

    def __init__(self, folder: Path, deliver: Deliver) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._deliver = deliver
        self._file = SpoolFile(folder / f"{new_id(f'p{os.getpid()}')}{SUFFIX}")
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._counting = threading.Lock()
        self._taken = 0
        self._sent = 0
        self._failing_since: float | None = None
        self._is_closing = False
        self._threads = [
            threading.Thread(target=work, name=f"modelwright-{work.__name__.strip('_')}", daemon=True)
            for work in (self._write, self._send)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, record: bytes) -> None:
        """Take a record."""
        with self._counting:
            self._waiting.append(record)
            self._taken += 1

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything taken so far was sent; False if the time, or the server's grace, was over."""
        until = time.monotonic() + timeout_s
        with self._changed:
            goal = self._taken
            while self._sent < goal:
                now = time.monotonic()
                hopeless = self._failing_since is not None and now - self._failing_since > GIVE_UP_S
                if now >= until or hopeless:
                    return False
                self._changed.wait(0.05)
        return True

    def close(self, timeout_s: float) -> bool:
        """Flush and stop; what was not sent stays on disk."""
        done = self.flush(timeout_s)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        writer, sender = self._threads
        writer.join()
        # A sender in the middle of a call may take as long as the call; its thread ends with the process.
        sender.join(1.0)
        if not sender.is_alive():
            self._file.close()
        return done

    def abandon(self) -> None:
        """Let go in a forked child, which has none of the threads."""
        self._file.abandon()

    def _write(self) -> None:
        while True:
            with self._changed:
                if not self._is_closing:
                    self._changed.wait(WRITE_INTERVAL_S)
                is_last = self._is_closing
            records = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if records and not self._written(records):
                if is_last:
                    LOGGER.error("%d records are lost: there was no room for them in %s", len(records), self._folder)
                else:
                    self._waiting.extendleft(reversed(records))
                    time.sleep(DISK_PAUSE_S)
            if is_last and not self._waiting:
                return

    def _written(self, records: Sequence[bytes]) -> bool:
        try:
            with self._changed:
                self._file.append(records)
                self._changed.notify_all()
        except OSError as error:
            LOGGER.error("cannot write to %s (%s); records stay in memory until it works", self._folder, error)
            return False
        return True

    def _send(self) -> None:
        self._send_orphans()
        failures = 0
        while True:
            records, end = self._file.read()
            if not records:
                with self._changed:
                    self._file.rotate()
                    if self._is_closing and not self._threads[0].is_alive():
                        return
                    self._changed.wait(0.5 if not self._is_closing else 0.01)
                continue
            if self._attempt(records):
                self._file.acknowledge(end)
                with self._changed:
                    self._sent += len(records)
                    self._changed.notify_all()
                failures = 0
                continue
            failures += 1
            with self._changed:
                if self._is_closing:
                    return
                self._changed.wait(min(0.1 * 2.0**failures, MAX_BACKOFF_S) * random.uniform(0.5, 1.0))

    def _send_orphans(self) -> None:
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            if path == self._file.path or self._is_closing:
                continue
            try:
                drain_file(path, self._attempt)
            except OSError:
                continue

    def _attempt(self, records: Sequence[bytes]) -> bool:
        try:
            self._deliver(records)
        except UnavailableError as error:
            if self._failing_since is None:
                self._failing_since = time.monotonic()
                LOGGER.warning("%s; what is logged is kept in %s meanwhile", error.message, self._folder)
            return False
        except Exception:
            # Whatever it is, the training goes on; the records are kept for a later version or `sync`.
            if self._failing_since is None:
                self._failing_since = time.monotonic()
                LOGGER.exception("cannot send %d records; they stay in %s", len(records), self._folder)
            return False
        self._failing_since = None
        return True


def drain_file(path: Path, attempt: Callable[[Sequence[bytes]], bool]) -> bool:
    """Send the records of a dead process; True once all are sent and the file is gone.

    Raises:
        BlockingIOError: its process is alive.
    """
    file = SpoolFile(path)
    while True:
        records, end = file.read()
        if not records:
            file.remove()
            return True
        if not attempt(records):
            file.abandon()
            return False
        file.acknowledge(end)
