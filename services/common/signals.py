"""Wakes watchers inside one process; those of other replicas find changes by looking again."""

import threading
from collections import Counter


class Signal:
    """A counter a topic, with waiting for it to move."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._counts: Counter[str] = Counter()

    def notify(self, topic: str) -> None:
        """Wake those who wait for `topic`."""
        with self._condition:
            self._counts[topic] += 1
            self._condition.notify_all()

    def count(self, topic: str) -> int:
        """Return how often `topic` was notified; take it before you read what you watch."""
        with self._condition:
            return self._counts[topic]

    def wait(self, topic: str, seen: int, timeout_s: float) -> bool:
        """Wait until `topic` was notified more than `seen` times; False once the time is over."""
        with self._condition:
            return self._condition.wait_for(lambda: self._counts[topic] != seen, timeout_s)
