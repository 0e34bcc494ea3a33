"""The outermost layer: request ids, who may call, size limits, metrics, and a problem document for any fault.

One plain ASGI class, because it is passed by every request of the hot path.
"""

import logging
import re
import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.identity import Browsers, Identities
from gateway.problems import ForbiddenError, problem
from gateway.settings import GatewaySettings
from services.common.errors import ModelwrightError, TooLargeError
from services.common.ids import new_id
from services.common.logs import REQUEST_ID

log = logging.getLogger("modelwright.gateway")

OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""Answered without a token: probes have none, and learn nothing but whether we live."""
PAGE_PATHS = frozenset({"/"})
"""Answered to a token sent as a password too, as a browser asks a person for one."""
REQUEST_ID_PATTERN = re.compile(rb"[A-Za-z0-9._-]{1,64}")
LARGE_BODY = re.compile(r"/uploads/[^/]+$|/blobs/[^/]+$")
PREDICT_BODY = re.compile(r":predict$")
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SAFE_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]


class Edge:
    """Wraps the application.

    Args:
        app: what answers.
        settings: limits and where we are bound.
        identities: who may call.
        registry: where the metrics go.
    """

    def __init__(
        self, app: ASGIApp, *, settings: GatewaySettings, identities: Identities, registry: CollectorRegistry
    ) -> None:
        self._app = app
        self._settings = settings
        self._identities = identities
        self._browsers = Browsers(hosts=allowed_hosts(settings))
        self._requests = Counter(
            "modelwright_gateway_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "modelwright_gateway_request_seconds",
            "Seconds to the end of the answer.",
            ["method", "route"],
            buckets=BUCKETS_S,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if REQUEST_ID_PATTERN.fullmatch(given) else new_id("req")
        REQUEST_ID.set(request_id)
        answer = _Answer(send, request_id)
        start = time.perf_counter()
        try:
            self._admit(scope, headers)
            await self._app(scope, self._bounded(scope, headers, receive), answer.send)
        except ModelwrightError as error:
            await answer.refuse(error, scope, receive)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            fault = ModelwrightError(f"internal error (request {request_id}); the gateway's log has more")
            await answer.refuse(fault, scope, receive)
        finally:
            self._count(scope, answer.status, time.perf_counter() - start)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        def text(name: bytes) -> str:
            return headers.get(name, b"").decode("latin-1")

        objection = self._browsers.objection(
            scope["method"], text(b"host"), text(b"origin"), text(b"sec-fetch-site"), text(b"sec-fetch-mode")
        )
        if objection:
            raise ForbiddenError(objection)
        if scope["path"] not in OPEN_PATHS:
            allow_basic = scope["path"] in PAGE_PATHS
            actor = self._identities.actor_of(text(b"authorization"), allow_basic=allow_basic)
            scope.setdefault("state", {})["actor"] = actor

    def _bounded(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        limit = self._limit(scope)
        stated = headers.get(b"content-length", b"")
        if stated.isdigit() and int(stated[:18]) > limit:
            raise TooLargeError(f"the body has {int(stated[:18])} bytes; at most {limit} are taken here")
        received = 0

        async def take() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, f"the body has more than the {limit} bytes that are taken here")
            return message

        return take

    def _limit(self, scope: Scope) -> int:
        path = scope["path"]
        if scope["method"] in ("PUT", "PATCH") and LARGE_BODY.search(path):
            return self._settings.max_upload_bytes
        if PREDICT_BODY.search(path):
            return self._settings.max_predict_bytes
        return self._settings.max_body_bytes

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "") or scope.get("state", {}).get("route", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Answer:
    """Sends an answer with the request id, noting its status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 0
        self._send = send
        self._headers = [*SAFE_HEADERS, (b"x-request-id", request_id.encode())]

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        await self._send(message)

    async def refuse(self, error: ModelwrightError, scope: Scope, receive: Receive) -> None:
        if self.status:  # Begun already: nothing can be said any more, the connection breaks off.
            log.warning("%s %s broke off: %s", scope["method"], scope["path"], error.message)
            raise ConnectionAbortedError(error.message)
        await problem(error, scope["path"])(scope, receive, self.send)


def allowed_hosts(settings: GatewaySettings) -> frozenset[str]:
    """Return the names a `Host` header may carry: on loopback only its own, so that no foreign name leads here."""
    stated = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
    if not settings.is_loopback and not stated:
        return frozenset()
    return frozenset({"localhost", "127.0.0.1", "::1", settings.host.lower()} | stated)
