"""`Idempotency-Key`: the same request sent again gets the first answer, and is not carried out twice.

Follows draft-ietf-httpapi-idempotency-key-header: a key with another body is
refused with 422, one whose first request is still under way with 409.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.models import Answer
from services.common.db import Database
from services.common.digest import digest_bytes
from services.common.errors import ConflictError, InvalidError, ModelwrightError

log = logging.getLogger("modelwright.gateway")

T = TypeVar("T")

HEADER = b"idempotency-key"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
METHODS = frozenset({"POST", "PUT", "DELETE"})
NOT_KEPT = re.compile(r"/blobs/|:predict$|runs:log$|/runs/[^/]+/metrics$")
"""Safe to repeat by themselves, and too large or too many to keep."""
MAX_KEPT_BYTES = 4 << 20
ABANDONED_S = 120.0
"""After this long a first request that never ended counts as lost with its gateway."""
SWEEP_EVERY_S = 600.0
FIRST_FAULT = 500
MAX_ROUTE_CHARACTERS = 600


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a key stands for: a caller, a route and a body."""

    actor: str
    route: str
    key: str
    body_digest: str


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An answer to give again."""

    status: int
    content_type: str
    body: bytes


class AnswerStore:
    """Answers in the gateway's database.

    Args:
        database: the gateway's own.
        ttl_s: how long an answer is kept.
    """

    def __init__(self, database: Database, ttl_s: float) -> None:
        self._database = database
        self._ttl_s = ttl_s
        self._swept_at = 0.0

    async def claim(self, claim: Claim) -> Kept | None:
        """Return the kept answer, or None: then the request is the caller's to carry out.

        Raises:
            InvalidError: the key was used with another body.
            ConflictError: the first request with it is still under way.
        """
        return await self._write(lambda session: self._claimed(session, claim))

    async def keep(self, claim: Claim, kept: Kept) -> None:
        """Keep the answer for the next time."""

        def change(session: Session) -> None:
            row = session.get(Answer, (claim.actor, claim.route, claim.key))
            if row is not None:
                row.status, row.content_type, row.body = kept.status, kept.content_type, kept.body

        await self._write(change)

    async def drop(self, claim: Claim) -> None:
        """Forget the claim: the request had no effect that a repeat could double."""
        mine = (Answer.actor == claim.actor) & (Answer.route == claim.route) & (Answer.key == claim.key)
        await self._write(lambda session: session.execute(delete(Answer).where(mine, Answer.status == 0)))

    def _claimed(self, session: Session, claim: Claim) -> Kept | None:
        now = time.time()
        if now - self._swept_at > SWEEP_EVERY_S:
            self._swept_at = now
            session.execute(delete(Answer).where(Answer.created_at < now - self._ttl_s))
        row = session.get(Answer, (claim.actor, claim.route, claim.key))
        if row is None:
            self._begin(session, claim, now)
            return None
        if row.created_at < now - self._ttl_s or (not row.status and row.created_at < now - ABANDONED_S):
            row.body_digest, row.status, row.created_at, row.body = claim.body_digest, 0, now, b""
            return None
        if row.body_digest != claim.body_digest:
            raise InvalidError(
                f"Idempotency-Key {claim.key[:60]!r} was used for another body at this address; take a new key",
                field="Idempotency-Key",
            )
        if not row.status:
            raise _under_way(claim)
        return Kept(status=row.status, content_type=row.content_type, body=row.body)

    def _begin(self, session: Session, claim: Claim, now: float) -> None:
        try:
            with session.begin_nested():
                session.add(
                    Answer(
                        actor=claim.actor,
                        route=claim.route,
                        key=claim.key,
                        body_digest=claim.body_digest,
                        status=0,
                        content_type="",
                        body=b"",
                        created_at=now,
                    )
                )
        except IntegrityError as error:
            raise _under_way(claim) from error

    async def _write(self, change: Callable[[Session], T]) -> T:
        def carry_out() -> T:
            with self._database.write() as session:
                return change(session)

        return await asyncio.to_thread(carry_out)


class Idempotency:
    """ASGI layer that gives kept answers to repeated keys. The body is read whole before it is passed on."""

    def __init__(self, app: ASGIApp, *, store: Callable[[], AnswerStore], max_body_bytes: int) -> None:
        self._app = app
        self._store = store
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        key = dict(scope["headers"]).get(HEADER) if scope["type"] == "http" else None
        if key is None or scope["method"] not in METHODS or NOT_KEPT.search(scope["path"]):
            await self._app(scope, receive, send)
            return
        body = await _whole(receive, self._max_body_bytes)
        claim = _claim(scope, key.decode("latin-1"), body)
        kept = await self._store().claim(claim)
        if kept is not None:
            await _replay(kept, send)
            return
        await self._answer(claim, scope, _given(body, receive), send)

    async def _answer(self, claim: Claim, scope: Scope, receive: Receive, send: Send) -> None:
        recorder = _Recorder(send)
        try:
            await self._app(scope, receive, recorder.send)
        finally:
            kept = recorder.kept()
            # What failed for a reason that may pass is not the answer for ever.
            final = kept is not None and kept.status < FIRST_FAULT and kept.status not in (401, 408, 409, 429)
            try:
                await (self._store().keep(claim, kept) if kept and final else self._store().drop(claim))
            except ModelwrightError as error:
                log.warning("the answer to key %r could not be kept: %s", claim.key, error.message)


class _Recorder:
    """Passes an answer on and keeps a copy."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()
        self._complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif len(self._body) <= MAX_KEPT_BYTES:
            self._body += message.get("body", b"")
            self._complete = not message.get("more_body", False)
        await self._send(message)

    def kept(self) -> Kept | None:
        if self._start is None or not self._complete or len(self._body) > MAX_KEPT_BYTES:
            return None
        headers = dict(self._start["headers"])
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        return Kept(status=self._start["status"], content_type=content_type, body=bytes(self._body))


def _claim(scope: Scope, key: str, body: bytes) -> Claim:
    if not KEY.fullmatch(key):
        raise InvalidError(
            "Idempotency-Key must be 1 to 255 printable characters without spaces", field="Idempotency-Key"
        )
    query = scope.get("query_string", b"").decode("latin-1")
    route = f"{scope['method']} {scope['path']}"
    if len(route) > MAX_ROUTE_CHARACTERS:
        raise InvalidError("the address is too long to be used with an Idempotency-Key", field="Idempotency-Key")
    actor = scope.get("state", {}).get("actor", "")
    return Claim(actor=actor, route=route, key=key, body_digest=digest_bytes(query.encode() + b"\0" + body))


def _under_way(claim: Claim) -> ConflictError:
    return ConflictError(
        f"the first request with Idempotency-Key {claim.key[:60]!r} is still being answered; repeat it in a moment"
    )


async def _whole(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the connection ended within the body")
        body += message.get("body", b"")
        if len(body) > limit:
            raise HTTPException(413, f"the body has more than the {limit} bytes that are taken here")
        if not message.get("more_body", False):
            return bytes(body)


def _given(body: bytes, receive: Receive) -> Receive:
    given = False

    async def take() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return take


async def _replay(kept: Kept, send: Send) -> None:
    headers = [(b"content-length", str(len(kept.body)).encode()), (b"idempotency-replayed", b"true")]
    if kept.content_type:
        headers.append((b"content-type", kept.content_type.encode("latin-1")))
    await send({"type": "http.response.start", "status": kept.status, "headers": headers})
    await send({"type": "http.response.body", "body": kept.body})
