"""One client connection: bytes to requests, responses to bytes, in order."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

from services.serve_svc.inference.rest.messages import HttpRequest, HttpResponse, encode, failure, json_response

Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]

MAX_HEADER_BYTES = 64 << 10
MAX_PIPELINED = 16
"""Requests read ahead of the one being answered; then the socket is left alone."""

LINGER_S = 2.0
"""How long a refused client may go on sending before the connection is closed under it."""


@dataclass(kw_only=True, eq=False)
class Hub:
    """What all connections of a server share."""

    handler: Handler
    max_body_bytes: int
    connections: "set[Connection]" = field(default_factory=set)
    draining: bool = False

    def __call__(self) -> "Connection":
        """Return the protocol of a new connection."""
        return Connection(self)


class Connection(asyncio.Protocol):
    """Parses what a client sends and answers one request after another."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.since = time.monotonic()
        """When the request being read began, or the last one ended."""
        self.reading = False
        """A request has begun to arrive and is not whole."""
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._waiting: deque[tuple[HttpRequest, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._closing = False
        self._fresh(b"")

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._task is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the hub."""
        self._transport = cast(asyncio.Transport, transport)
        self.hub.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave; a client that is gone needs no answer, so its work is given up."""
        self.hub.connections.discard(self)
        self._closing = True
        self._writable.set()
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what is no HTTP is answered once and closed."""
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(501, "this server upgrades no connections")
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is no HTTP/1.1 request: {error}")

    def pause_writing(self) -> None:
        """Wait with further answers until the client has read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Start a request."""
        self.reading = True
        self.since = time.monotonic()
        self._fresh(b"")

    def on_url(self, url: bytes) -> None:
        """Collect the target, which may come in pieces."""
        self._target += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._headers[name.lower()] = value
        self._count_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Refuse a body too large before it is sent."""
        declared = self._headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.hub.max_body_bytes:
            self._too_large(int(declared))
        elif self._headers.get(b"expect", b"").lower() == b"100-continue" and not self._closing:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Collect the body; a chunked one says its length only as it comes."""
        if self._closing:
            return
        self._length += len(data)
        if self._length > self.hub.max_body_bytes:
            self._too_large(self._length)
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Answer the request, or queue it behind those before it."""
        self.reading = False
        if self._closing:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method().decode()
        request = HttpRequest(method=method, target=self._target, headers=self._headers, body=body)
        self._waiting.append((request, self._parser.should_keep_alive()))
        self._fresh(b"")
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._answer())
        elif len(self._waiting) >= MAX_PIPELINED:
            self._transport.pause_reading()

    async def _answer(self) -> None:
        """Answer until nothing waits."""
        try:
            while self._waiting and not self._closing:
                request, keep_alive = self._waiting.popleft()
                try:
                    response = await self.hub.handler(request)
                except Exception as error:
                    response = failure(error)
                keep_alive = keep_alive and not self.hub.draining
                self._transport.writelines(encode(response, keep_alive=keep_alive))
                if not keep_alive:
                    self.close()
                self._transport.resume_reading()
                await self._writable.wait()
        finally:
            self._task = None
            self.since = time.monotonic()

    def close(self) -> None:
        """Close once everything is written."""
        self._closing = True
        self._transport.close()

    def time_out(self) -> None:
        """Answer a request that does not become whole."""
        self._refuse(408, "the request did not arrive in time")

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEADER_BYTES:
            self._refuse(431, f"the request's head exceeds {MAX_HEADER_BYTES} bytes")

    def _too_large(self, size: int) -> None:
        most = self.hub.max_body_bytes
        self._refuse(413, f"the body has {size} bytes or more; at most {most} are taken, send fewer rows a request")

    def _refuse(self, status: int, message: str) -> None:
        """Answer and close: what follows on this connection cannot be told apart."""
        if self._closing:
            return
        self._closing = True
        self._transport.writelines(encode(json_response({"error": message}, status), keep_alive=False))
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        # Closed at once, what the client still sends would make its kernel drop our answer unread.
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)

    def _fresh(self, target: bytes) -> None:
        self._target = target
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._length = 0
        self._head = 0


def sweep(hub: Hub, *, read_timeout_s: float, idle_timeout_s: float) -> None:
    """Close connections that send too slowly or nothing; called now and then."""
    now = time.monotonic()
    for connection in list(hub.connections):
        if connection.reading and now - connection.since > read_timeout_s:
            connection.time_out()
        elif not connection.reading and not connection.busy and now - connection.since > idle_timeout_s:
            connection.close()
