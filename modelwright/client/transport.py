"""HTTP with retries where they are safe, and problems as exceptions."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import httpx
import orjson

from modelwright.client.problems import problem_error
from modelwright.client.settings import ClientSettings
from services.common.errors import BusyError, ModelwrightError, UnavailableError
from services.common.ids import new_id

SAFE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods that do the same when they are repeated (RFC 9110, section 9.2.2)."""
RETRIED_STATUS = frozenset({502, 503, 504})
MAX_BACKOFF_S = 5.0


class Transport:
    """Sends requests to one gateway; safe to use from many threads."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        headers = {"Accept": "application/json", "User-Agent": "modelwright"}
        if settings.token:
            headers["Authorization"] = f"Bearer {settings.token}"
        self._http = httpx.Client(
            base_url=settings.url,
            headers=headers,
            timeout=httpx.Timeout(settings.timeout_s, connect=settings.connect_timeout_s),
            # A proxy of the company cannot reach this machine; certificates are read only where they are used.
            trust_env=not settings.is_loopback,
            verify=settings.url.startswith("https:"),
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def path(self, tail: str) -> str:
        """Return the path of a resource of the project: `runs/run_1` gives `/api/v1/projects/P/runs/run_1`."""
        return f"/api/v1/projects/{self.settings.project}/{tail}"

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,  # noqa: ANN401 - any JSON value
        key: str | None = None,
        once: bool = False,
        accept: tuple[int, ...] = (),
        **kwargs: Any,  # noqa: ANN401 - passed to httpx
    ) -> httpx.Response:
        """Send a request and return the answer, repeating it where that is safe.

        Args:
            method: the HTTP method; a POST carries an idempotency key.
            path: from the server's root.
            params: query parameters; those that are None or empty are left out.
            body: sent as JSON.
            key: the idempotency key, where the caller must choose it; empty if a repeated call changes nothing.
            once: never repeat, as for bodies that can be read only once.
            accept: statuses of 400 and more that are returned, not raised.
            kwargs: further arguments of `httpx.Client.build_request`.

        Raises:
            ModelwrightError: the class that the problem document names, or `UnavailableError`.
        """
        headers = dict(kwargs.pop("headers", None) or {})
        if body is not None:
            kwargs["content"] = orjson.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        if method == "POST" and not once and key != "":
            headers["Idempotency-Key"] = key or new_id("key")
        given = {name: value for name, value in (params or {}).items() if value not in (None, "")}
        request = self._http.build_request(method, path, params=given, headers=headers, **kwargs)
        repeatable = not once and (method in SAFE or method == "POST")
        return self._attempts(request, repeatable, accept)

    def json(self, method: str, path: str, **kwargs: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Return the decoded answer of `call`, None for an empty one."""
        content = self.call(method, path, **kwargs).content
        return orjson.loads(content) if content else None

    @contextmanager
    def stream(
        self, path: str, *, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """Open a GET whose answer is read piece by piece; errors before its first byte are raised."""
        given = {name: value for name, value in (params or {}).items() if value not in (None, "")}
        try:
            with self._http.stream("GET", path, params=given, headers=dict(headers or {})) as response:
                if response.is_error:
                    response.read()
                    raise self.error(response)
                yield response
        except httpx.TransportError as error:
            raise self.unreachable(error) from error

    def error(self, response: httpx.Response) -> ModelwrightError:
        """Return the exception for an answer of status 400 or more."""
        try:
            body = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            body = None
        return problem_error(response.status_code, body, response.headers.get("Retry-After", ""))

    def unreachable(self, error: Exception) -> UnavailableError:
        """Return the exception for a server that could not be talked to."""
        reason = str(error) or type(error).__name__
        return UnavailableError(
            f"the server at {self.settings.url} does not answer ({reason}); "
            "start it with `modelwright up` or set MODELWRIGHT_URL"
        )

    def _attempts(self, request: httpx.Request, repeatable: bool, accept: tuple[int, ...]) -> httpx.Response:
        for attempt in range(self.settings.retries + 1):
            last = attempt == self.settings.retries
            try:
                response = self._http.send(request)
            except httpx.TransportError as error:
                # A connection that was never made has changed nothing.
                never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                if last or not (repeatable or (never_sent and _is_rewindable(request))):
                    raise self.unreachable(error) from error
                self.wait(attempt)
                continue
            if not response.is_error or response.status_code in accept:
                return response
            problem = self.error(response)
            if last or not _is_transient(response, problem, repeatable, _is_rewindable(request)):
                raise problem
            self.wait(attempt, problem)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def wait(self, attempt: int, problem: ModelwrightError | None = None) -> None:
        """Sleep before repetition number `attempt` (0 first), or as long as a busy server asked."""
        if isinstance(problem, BusyError):
            time.sleep(min(problem.retry_after_s, 30.0))
            return
        limit = min(self.settings.backoff_s * cast(float, 2**attempt), MAX_BACKOFF_S)
        time.sleep(limit * random.uniform(0.5, 1.0))


def _is_rewindable(request: httpx.Request) -> bool:
    return isinstance(request.stream, httpx.ByteStream)


def _is_transient(response: httpx.Response, problem: ModelwrightError, repeatable: bool, rewindable: bool) -> bool:
    if isinstance(problem, BusyError):
        return rewindable
    return repeatable and response.status_code in RETRIED_STATUS
