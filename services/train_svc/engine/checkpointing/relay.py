"""A thread that does one thing with the newest of what it is given, and tries again what fails."""

import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from services.common.errors import BusyError, StorageFullError, UnavailableError

LOG = logging.getLogger("modelwright.train")

PASSING = (UnavailableError, BusyError, StorageFullError, OSError)
"""Failures that may pass; any other ends the run."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How a failing disk or storage is tried again."""

    first_s: float = 0.5
    """Wait after the first failure; it doubles with each."""
    longest_s: float = 10.0
    """Longest wait."""
    give_up_s: float = 120.0
    """How long it may fail before the run does."""


class Stepped(Protocol):
    """What belongs to a step of a run."""

    @property
    def step(self) -> int:
        """Steps made."""


Item = TypeVar("Item", bound=Stepped)


class Relay(Generic[Item]):
    """One thread that carries the newest item; one that waits is replaced by a newer one.

    Args:
        name: of the thread.
        carry: what is done with an item; it is called in the thread.
        policy: how it is tried again after a failure that may pass.
        give_up: the error of an item's step, the seconds it was tried for, and the last failure.
    """

    def __init__(
        self,
        name: str,
        carry: Callable[[Item], None],
        policy: RetryPolicy,
        give_up: Callable[[int, float, Exception], Exception],
    ) -> None:
        self._carry = carry
        self._policy = policy
        self._give_up = give_up
        self._changed = threading.Condition()
        self._waiting: Item | None = None
        self._carried: Item | None = None
        self._closed = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> "Relay[Item]":
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Have the thread end after what it does just now; what waits is dropped."""
        with self._changed:
            self._closed = True
            self._waiting = None
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait for a closed thread to end, so long at most."""
        self._thread.join(timeout_s)

    def put(self, item: Item) -> None:
        """Have it carried soon, in place of one that waits. After a failure or the end nothing is taken."""
        with self._changed:
            if not self._closed and self._failure is None:
                self._waiting = item
                self._changed.notify_all()

    def drop_waiting(self) -> None:
        """Let go of what waits."""
        with self._changed:
            self._waiting = None
            self._changed.notify_all()

    @property
    def held(self) -> list[Item]:
        """What waits, and what is carried just now."""
        with self._changed:
            return [item for item in (self._waiting, self._carried) if item is not None]

    @property
    def is_waited_for(self) -> bool:
        """Whether an item waits, which the next `put` would replace."""
        with self._changed:
            return self._waiting is not None

    def check(self) -> None:
        """Raise what ended the carrying, if anything did."""
        if self._failure is not None:
            raise self._failure

    def flush(self) -> None:
        """Wait until everything is carried, within the policy's limit; raises as `check`."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure is not None or not (self._waiting or self._carried))
        self.check()

    def _run(self) -> None:
        while self._failure is None and self._wait():
            try:
                self._carry_newest()
            except Exception as error:  # whatever it is, the training thread must see it
                _forget_locals(error)
                self._failure = error
            with self._changed:
                self._carried = None
                self._changed.notify_all()

    def _wait(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting is not None)
            return not self._closed

    def _carry_newest(self) -> None:
        began, wait_s = time.monotonic(), self._policy.first_s
        # A newer item may have come while the last try failed, or it was dropped.
        while self._take_newest():
            error = self._try()
            if error is None:
                return
            step, tried_s = self._step(), time.monotonic() - began
            if tried_s + wait_s > self._policy.give_up_s:
                raise self._give_up(step, tried_s, error) from error
            LOG.warning("checkpoint %d is not saved yet, next try in %.1f s: %s", step, wait_s, str(error))
            # Its traceback holds the item, which a newer one may replace while this thread waits.
            del error
            self._put_back(wait_s)
            wait_s = min(2 * wait_s, self._policy.longest_s)

    def _take_newest(self) -> bool:
        with self._changed:
            self._carried, self._waiting = self._waiting, None
            return self._carried is not None and not self._closed

    def _step(self) -> int:
        return self._carried.step if self._carried is not None else 0

    def _try(self) -> Exception | None:
        try:
            if self._carried is not None:
                self._carry(self._carried)
        except PASSING as error:
            return error
        return None

    def _put_back(self, wait_s: float) -> None:
        with self._changed:
            self._waiting, self._carried = self._waiting or self._carried, None
            self._changed.wait_for(lambda: self._closed, timeout=wait_s)


def _forget_locals(error: BaseException | None) -> None:
    """Let go of what the frames of an error and its causes hold: it may be all of a run's state."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
