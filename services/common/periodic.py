"""Work that is done again and again while a service runs."""

import logging
import threading
from collections.abc import Callable

from services.common.errors import ModelwrightError

log = logging.getLogger("modelwright")


class Periodic:
    """A thread that calls `act` at an interval; a failed call is logged and the next one comes all the same.

    Args:
        name: of the thread, for logs.
        act: what is done.
        interval_s: pause between calls.
        first_after_s: pause before the first call; the interval unless given.
    """

    def __init__(
        self, name: str, act: Callable[[], object], interval_s: float, *, first_after_s: float | None = None
    ) -> None:
        self._act, self._interval_s = act, interval_s
        self._first_after_s = interval_s if first_after_s is None else first_after_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End and wait for the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._first_after_s
        while not self._stop.wait(pause):
            pause = self._interval_s
            try:
                self._act()
            except ModelwrightError as error:
                log.warning("%s will be tried again: %s", self._thread.name, error.message)
