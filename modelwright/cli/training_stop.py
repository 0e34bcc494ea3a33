"""Ctrl-C and SIGTERM during a training: it saves a checkpoint first."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Asked:
    """Whether the training was asked to leave."""

    def __init__(self) -> None:
        self._is_asked = False

    def __call__(self) -> bool:
        """Return True once it was."""
        return self._is_asked

    def take(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; the second one leaves at once."""
        if self._is_asked:
            raise KeyboardInterrupt
        self._is_asked = True
        sys.stderr.write("\nsaving a checkpoint; once more to leave at once\n")


@contextmanager
def leaving_in_order() -> Iterator[Asked]:
    """Give what is asked before every step, and take the signals meanwhile."""
    asked = Asked()
    before = {number: signal.signal(number, asked.take) for number in SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
