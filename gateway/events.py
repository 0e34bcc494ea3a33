"""Server-sent events (WHATWG HTML, section 9.2): one upstream a subject, however many browsers watch it."""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import StreamingResponse

from services.common.errors import BusyError, ModelwrightError, UnavailableError
from services.common.ids import new_id

log = logging.getLogger("modelwright.events")

NUMBER = re.compile(r"[0-9]{1,18}")
LINGER_S = 2.0
"""How long an upstream stays open when nobody watches: a reloaded page finds it still there."""
RECONNECT_S = (0.1, 0.3, 1.0, 2.0)
HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event of a subject."""

    name: str
    data: Any
    """A JSON value."""
    is_state: bool = False
    """It stands for all before it: who comes new begins with the last such event."""
    number: int | None = None
    """Its own number, where the subject has some (a log's lines); else they are counted."""


Source = Callable[[int], AsyncIterator[Event]]
"""Opens the upstream behind the given number and yields events until the subject has ended."""
Backlog = Callable[[int], AsyncIterator[Event]]
"""Reads the numbered events behind a number that were there before the subject was watched."""


class Subject:
    """What is watched: the last events, and a task that gathers them while anybody listens.

    Args:
        source: opens the upstream.
        keep: events kept for those who reconnect or are slow.
        after: number behind which the upstream is opened at first.
        states_only: each event stands for all before it, so that missing some is no loss.
    """

    def __init__(self, source: Source, *, keep: int, after: int = 0, states_only: bool = False) -> None:
        self.epoch = new_id("e")[2:14]
        self.watchers = 0
        self.ended = False
        self.frames: deque[tuple[int, bytes]] = deque(maxlen=keep)
        self.state: tuple[int, bytes] | None = None
        self.last = after
        self.states_only = states_only
        self._source = source
        self._wake = asyncio.Event()
        self.task = asyncio.create_task(self._gather())

    async def wait(self, seen: int, timeout_s: float) -> bool:
        """Return whether there is more than `seen`, waiting up to `timeout_s` for it."""
        if self.last > seen or self.ended:
            return True
        wake = self._wake
        try:
            async with asyncio.timeout(timeout_s):
                await wake.wait()
        except TimeoutError:
            return False
        return True

    def after(self, seen: int) -> list[tuple[int, bytes]] | None:
        """Return the frames behind `seen`; None if some are no longer kept."""
        if seen >= self.last:
            return []
        if not self.frames or self.frames[0][0] > seen + 1:
            return None
        return [frame for frame in self.frames if frame[0] > seen]

    def publish(self, event: Event) -> None:
        """Give an event to all who watch."""
        self.last = event.number if event.number is not None else self.last + 1
        frame = (self.last, encode(event, f"{self.epoch}-{self.last}"))
        self.frames.append(frame)
        if event.is_state:
            self.state = frame
        self._notify()

    def close(self) -> None:
        """Say that nothing follows."""
        self.ended = True
        self._notify()

    def _notify(self) -> None:
        wake, self._wake = self._wake, asyncio.Event()
        wake.set()

    async def _gather(self) -> None:
        pauses = iter(RECONNECT_S)
        try:
            while not self.ended:
                try:
                    async for event in self._source(self.last):
                        pauses = iter(RECONNECT_S)
                        self.publish(event)
                    break
                except (UnavailableError, BusyError) as error:
                    log.info("a watched stream is opened again: %s", error.message)
                await asyncio.sleep(next(pauses, RECONNECT_S[-1]))
            self.publish(Event(name="end", data={}))
        except ModelwrightError as error:
            self.publish(Event(name="error", data={"code": error.code, "detail": error.message}))
        except Exception:
            log.exception("a watched stream failed")
        finally:
            self.close()


@dataclass(kw_only=True)
class Hub:
    """The subjects that are watched now."""

    heartbeat_s: float
    max_streams: int
    subjects: dict[str, Subject] = field(default_factory=dict)
    streams: int = 0

    def stream(
        self,
        request: Request,
        key: str,
        open_subject: Callable[[], Subject],
        *,
        after: int | None = None,
        backlog: Backlog | None = None,
    ) -> StreamingResponse:
        """Return the event stream of a subject.

        Args:
            request: may say in `Last-Event-ID` what it has seen.
            key: names the subject: one upstream a key.
            open_subject: makes it if nobody watches it yet.
            after: the number behind which to begin, for subjects whose events have numbers of their own.
            backlog: reads numbered events that are no longer kept.

        Raises:
            BusyError: as many streams are open as may be.
        """
        if self.streams >= self.max_streams:
            raise BusyError(f"{self.streams} event streams are open; close some pages", retry_after_s=5)
        last_id = request.headers.get("last-event-id", "")
        frames = self._frames(key, open_subject, last_id, after, backlog)
        return StreamingResponse(frames, media_type="text/event-stream", headers=HEADERS)

    async def _frames(
        self,
        key: str,
        open_subject: Callable[[], Subject],
        last_id: str,
        after: int | None,
        backlog: Backlog | None,
    ) -> AsyncGenerator[bytes, None]:
        subject = self.subjects.get(key)
        if subject is None or subject.ended:
            subject = self.subjects[key] = open_subject()
        subject.watchers += 1
        self.streams += 1
        try:
            yield b"retry: 1000\n\n"
            seen = _seen(subject, last_id, after)
            async for frame in _follow(subject, seen, backlog, self.heartbeat_s):
                yield frame
        finally:
            self.streams -= 1
            subject.watchers -= 1
            if not subject.watchers:
                asyncio.get_running_loop().call_later(LINGER_S, self._retire, key, subject)

    def _retire(self, key: str, subject: Subject) -> None:
        if subject.watchers:
            return
        subject.task.cancel()
        if self.subjects.get(key) is subject:
            del self.subjects[key]

    async def close(self) -> None:
        """End every stream."""
        tasks = [subject.task for subject in self.subjects.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def encode(event: Event, event_id: str) -> bytes:
    """Return the event as it goes over the wire."""
    return f"id: {event_id}\nevent: {event.name}\ndata: ".encode() + orjson.dumps(event.data) + b"\n\n"


def _seen(subject: Subject, last_id: str, after: int | None) -> int | None:
    """Return the number of the last event that the watcher has, or None: it has none that counts."""
    epoch, _, number = last_id.rpartition("-")
    if NUMBER.fullmatch(number) and (after is not None or epoch == subject.epoch):
        return int(number)
    return after


async def _follow(
    subject: Subject, seen: int | None, backlog: Backlog | None, heartbeat_s: float
) -> AsyncGenerator[bytes, None]:
    if seen is None:
        seen = 0
        if subject.state is not None:
            seen = subject.state[0]
            yield subject.state[1]
    while True:
        frames = subject.after(seen)
        if frames is None and backlog is not None:
            async for event in backlog(seen):
                seen = event.number or seen
                yield encode(event, f"{subject.epoch}-{seen}")
            frames = subject.after(seen)
        if frames is None:
            frames, seen = _begun_again(subject), subject.last
        for number, frame in frames:
            seen = max(seen, number)
            yield frame
        if subject.ended and seen >= subject.last:
            return
        if not await subject.wait(seen, heartbeat_s):
            yield b": still here\n\n"


def _begun_again(subject: Subject) -> list[tuple[int, bytes]]:
    """Return what brings a watcher up to date who was too slow, or away for too long: the state, and what is kept."""
    kept = list(subject.frames)
    if subject.state is not None and (not kept or subject.state[0] < kept[0][0]):
        kept.insert(0, subject.state)
    return kept if subject.states_only else [(0, b"event: reset\ndata: {}\n\n"), *kept]
