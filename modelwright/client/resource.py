"""What every group of calls shares: one answer, pages of answers, no answer."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import orjson

from modelwright.client.records import to_record
from modelwright.client.transport import Transport
from services.common.errors import InvalidError

T = TypeVar("T")


class Resource:
    """Calls about one kind of thing in the client's project."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def _json(self, method: str, tail: str, **kwargs: Any) -> Any:  # noqa: ANN401 - any JSON value
        return self.transport.json(method, self.transport.path(tail), **kwargs)

    def _one(self, kind: type[T], method: str, tail: str, name: str, **kwargs: Any) -> T:  # noqa: ANN401
        return to_record(kind, unwrap(self._json(method, tail, **kwargs), name))

    def _none(self, method: str, tail: str, **kwargs: Any) -> None:  # noqa: ANN401 - passed to Transport.call
        self.transport.call(method, self.transport.path(tail), **kwargs)

    def _pages(
        self, kind: type[T], tail: str, name: str, params: Mapping[str, Any] | None = None, page_size: int = 0
    ) -> Iterator[T]:
        """Yield the items of every page; the next page is asked for when it is reached."""
        token = ""
        while True:
            query = {**(params or {}), "page_size": page_size or None, "page_token": token}
            body = self._json("GET", tail, params=query) or {}
            for item in items(body, name):
                yield to_record(kind, item)
            token = body.get("next_page_token") or "" if isinstance(body, dict) else ""
            if not token:
                return

    def _inner(self, response: httpx.Response, name: str) -> Any:  # noqa: ANN401 - any JSON value
        return unwrap(orjson.loads(response.content), name)


def part(text: str | int, *, keep: str = "") -> str:
    """Return a name, reference or id as one part of a path, in which no character steers the path.

    Raises:
        InvalidError: it is empty, `.` or `..`, which would name another resource.
    """
    if str(text) in ("", ".", ".."):
        raise InvalidError(f"{str(text)!r} names nothing; give a name, a reference or an id", field="name")
    return quote(str(text), safe=":@" + keep)


def unwrap(body: Any, name: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return `body[name]` where the answer is an envelope of that one thing, else the answer."""
    inner = body.get(name) if isinstance(body, dict) else None
    return inner if isinstance(inner, dict) else body


def items(body: Any, name: str) -> list[Any]:  # noqa: ANN401 - any JSON value
    """Return the list of a page: under its name, or the answer itself."""
    found = body.get(name, []) if isinstance(body, dict) else body
    return list(found or [])
