"""One interceptor for all four RPC shapes: request id, errors, log, limits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc

from services.common.errors import BusyError, ModelwrightError
from services.common.ids import new_id
from services.common.logs import REQUEST_ID
from services.common.rpc.status import to_status

log = logging.getLogger("modelwright.rpc")

REQUEST_ID_KEY = "x-request-id"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class ServerInterceptor(grpc.ServerInterceptor):
    """Translates domain errors to statuses and keeps streams from taking every thread."""

    def __init__(self, stream_slots: int) -> None:
        self._stream_slots = threading.Semaphore(stream_slots)

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Wrap the handler of one call."""
        handler = continuation(details)
        if handler is None:
            return None
        request_id = _request_id(details)
        shape = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        behaviour = getattr(handler, shape)
        wrap = self._streamed if handler.response_streaming else self._answered
        build = getattr(grpc, f"{shape}_rpc_method_handler")
        built: Handler = build(
            wrap(behaviour, details.method, request_id),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return built

    def _answered(self, behaviour: Callable[..., Any], method: str, request_id: str) -> Callable[..., Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - any message
            with _translated(method, request_id, context):
                return behaviour(request, context)

        return answer

    def _streamed(self, behaviour: Callable[..., Any], method: str, request_id: str) -> Callable[..., Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ANN401 - any message
            with _translated(method, request_id, context), self._slot():
                yield from behaviour(request, context)

        return answer

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._stream_slots.acquire(blocking=False):
            raise BusyError("too many open streams on this server; close some or try again later", retry_after_s=5)
        try:
            yield
        finally:
            self._stream_slots.release()


def _request_id(details: grpc.HandlerCallDetails) -> str:
    return next((str(v) for k, v in details.invocation_metadata or () if k == REQUEST_ID_KEY), "") or new_id("req")


@contextmanager
def _translated(method: str, request_id: str, context: grpc.ServicerContext) -> Iterator[None]:
    REQUEST_ID.set(request_id)
    start = time.perf_counter()
    try:
        yield
    except ModelwrightError as error:
        code, message, metadata = to_status(error)
        log.info("%s %s: %s", method, code.name, message)
        context.set_trailing_metadata(metadata)
        context.abort(code, message)
    except GeneratorExit:
        raise
    except Exception:
        if not context.is_active():  # The caller left; nobody waits for an answer.
            raise
        log.exception("%s failed", method)
        context.abort(grpc.StatusCode.INTERNAL, f"internal error (request {request_id}); the server's log has more")
    finally:
        log.debug("%s %.1f ms", method, 1000 * (time.perf_counter() - start))
