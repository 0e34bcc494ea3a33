"""Server-sent events (WHATWG HTML, section 9.2), followed over cut connections."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from modelwright.client.problems import problem_error
from modelwright.client.transport import Transport
from services.common.errors import BusyError, UnavailableError

MAX_WAIT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event: its id (empty: none was sent so far), its name, and its data decoded from JSON."""

    id: str
    name: str
    data: Any


def parse_events(chunks: Iterable[bytes], last_id: str = "") -> Iterator[Event]:
    """Yield the events of a stream of bytes; an unfinished last one is dropped, as the standard says."""
    name, data = "", list[str]()
    for line in _lines(chunks):
        if not line:
            if data:
                yield Event(id=last_id, name=name or "message", data=_decode("\n".join(data)))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value


def follow(
    transport: Transport,
    path: str,
    *,
    params: dict[str, Any] | None = None,
    is_last: Callable[[Event], bool] = lambda event: False,
    has_ended: Callable[[], bool] = lambda: False,
    patience_s: float = 60.0,
) -> Iterator[Event]:
    """Yield events until `is_last` holds for one, reconnecting behind the last one seen.

    Args:
        transport: the server.
        path: of the stream.
        params: its query.
        is_last: whether nothing follows an event.
        has_ended: asked when the server closed the stream; true ends the iteration.
        patience_s: how long the server may stay away before `UnavailableError` is raised.

    Raises:
        ModelwrightError: what the stream itself tells with an `error` event.
    """
    last_id, failing_since = "", None
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            with transport.stream(path, params=params, headers=headers) as response:
                for event in parse_events(response.iter_raw(), last_id):
                    last_id, failing_since = event.id, None
                    if event.name == "error":
                        raise problem_error(500, event.data)
                    yield event
                    if is_last(event):
                        return
            if has_ended():
                return
            pause_s = 0.2
        except (UnavailableError, BusyError, httpx.StreamError):
            failing_since = failing_since or time.monotonic()
            away_s = time.monotonic() - failing_since
            if away_s > patience_s:
                raise
            pause_s = min(0.2 + away_s / 4, MAX_WAIT_S)
        time.sleep(pause_s)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")


def _decode(text: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
