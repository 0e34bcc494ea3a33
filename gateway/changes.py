"""Wakes those who wait for a thing of this process to change."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Changes:
    """One signal a topic, kept only while somebody waits for it."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[Change]] = {}

    def notify(self, topic: str) -> None:
        """Wake all who watch the topic. Called in the loop's thread."""
        for change in self._waiting.get(topic, ()):
            change.event.set()

    @contextmanager
    def watch(self, topic: str) -> Iterator["Change"]:
        """Give a signal that misses nothing from here on."""
        change = Change()
        self._waiting.setdefault(topic, set()).add(change)
        try:
            yield change
        finally:
            self._waiting[topic].discard(change)
            if not self._waiting[topic]:
                del self._waiting[topic]


class Change:
    """A signal: set by any change since the last wait."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    async def wait(self) -> None:
        """Return at once if there was a change since the last call, else at the next."""
        await self.event.wait()
        self.event.clear()
