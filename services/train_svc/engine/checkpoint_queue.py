"""Hands checkpoints to their sink while training goes on; a sink that is away is tried again."""

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from services.common.errors import BusyError, StorageFullError, UnavailableError
from services.train_svc.engine.ports import CheckpointSink

LOG = logging.getLogger(__name__)

PASSING = (UnavailableError, BusyError, StorageFullError, OSError)
"""Failures that may pass; any other ends the run."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How a failing sink is tried again."""

    first_s: float = 0.5
    """Wait after the first failure; it doubles with each."""
    longest_s: float = 10.0
    """Longest wait."""
    give_up_s: float = 120.0
    """How long the sink may be away before the run fails."""


class CheckpointQueue:
    """One thread that saves the newest checkpoint; one that waits is replaced by a newer one."""

    def __init__(self, sink: CheckpointSink, policy: RetryPolicy) -> None:
        self._sink = sink
        self._policy = policy
        self._wake = threading.Condition()
        self._waiting: tuple[Path, int] | None = None
        self._busy = False
        self._closed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def __enter__(self) -> "CheckpointQueue":
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread; what is not saved by `flush` is dropped."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()

    def put(self, folder: Path, step: int) -> None:
        """Have the folder saved soon."""
        with self._wake:
            self._waiting = (folder, step)
            self._wake.notify_all()

    def check(self) -> None:
        """Raise what ended the saving, if anything did.

        Raises:
            UnavailableError: the sink was away for longer than allowed.
            StaleLeaseError: another worker has the job.
        """
        if self._failure is not None:
            raise self._failure

    def flush(self) -> None:
        """Wait until everything is saved, within the policy's limit; raises as `check`."""
        with self._wake:
            self._wake.wait_for(lambda: self._failure is not None or not (self._waiting or self._busy))
        self.check()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._waiting is not None)
                if self._closed:
                    return
                self._busy = True
            try:
                self._save()
            except Exception as error:  # whatever it is, the training thread must see it
                self._failure = error
            with self._wake:
                self._busy = False
                self._wake.notify_all()
            if self._failure is not None:
                return

    def _save(self) -> None:
        began, wait_s = time.monotonic(), self._policy.first_s
        while not self._closed:
            with self._wake:
                # A newer checkpoint may have come while the last try failed.
                folder, step = self._waiting or (None, 0)
                self._waiting = None
            if folder is None:
                return
            try:
                return self._sink.save(folder, step)
            except PASSING as error:
                away_s = time.monotonic() - began
                if away_s + wait_s > self._policy.give_up_s:
                    raise _gave_up(step, away_s, error) from error
                LOG.warning("checkpoint %d is not saved yet, next try in %.1f s: %s", step, wait_s, error)
            with self._wake:
                self._waiting = self._waiting or (folder, step)
                self._wake.wait_for(lambda: self._closed, timeout=wait_s)
            wait_s = min(2 * wait_s, self._policy.longest_s)


def _gave_up(step: int, away_s: float, error: BaseException) -> UnavailableError:
    return UnavailableError(
        f"the checkpoint of step {step} could not be stored for {away_s:.0f} s: {error}; training stopped, so that no "
        "more work is lost. Bring the storage back and resume the run, or raise train.checkpoint_retry_s"
    )
