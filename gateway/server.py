"""The gateway as a server: in this thread, or beside others in one of its own."""

import asyncio
import logging
import socket
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI

from gateway.app import build_app
from gateway.settings import GatewaySettings
from services.common.errors import UnavailableError

log = logging.getLogger("modelwright.gateway")

BACKLOG = 2048
KEEP_ALIVE_S = 75
MAX_HEADER_BYTES = 64 << 10
START_TIMEOUT_S = 60.0


class _Server(uvicorn.Server):
    """Uvicorn that ends open event streams when it stops, in place of waiting for them."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop taking requests, end streams, let the others finish."""
        gateway = getattr(self.config.app.state, "gateway", None)  # type: ignore[union-attr]  # Always our FastAPI.
        if gateway is not None:
            await gateway.hub.close()
        await super().shutdown(sockets)


class GatewayServer:
    """Binds at once, serves in a thread of its own; the shape that all our servers have.

    Args:
        settings: of the gateway.
    """

    name = "gateway"

    def __init__(self, settings: GatewaySettings) -> None:
        self.address = f"{settings.host}:{settings.gateway_port}"
        self._settings = settings
        self.app = build_app(settings)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def url(self) -> str:
        """Root address, once started."""
        host = "127.0.0.1" if self._settings.host in ("0.0.0.0", "::", "localhost") else self._settings.host
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.address.rsplit(':', 1)[1]}"

    @property
    def is_running(self) -> bool:
        """Whether it answers, or at least has not broken off by itself."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> int:
        """Bind, serve and return the port.

        Raises:
            UnavailableError: the address cannot be bound, or the gateway could not start.
        """
        listener = self._bind()
        port: int = listener.getsockname()[1]
        self.address = f"{self._settings.host}:{port}"
        self._server = _Server(_config(self.app))
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # Not our thread's to take.
        self._thread = threading.Thread(target=self._serve, args=(listener,), name="gateway", daemon=True)
        self._thread.start()
        self._wait_started()
        log.info("gateway listens on %s", self.address)
        return port

    def stop(self, grace_s: float = 5.0) -> None:
        """Let running requests finish, then close."""
        if self._server is None or self._thread is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(grace_s))
        self._server.should_exit = True
        self._thread.join(grace_s + 15)

    def _serve(self, listener: socket.socket) -> None:
        assert self._server is not None
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._server.serve([listener]))
        except BaseException as error:
            self._failure = error
        finally:
            listener.close()

    def _wait_started(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        waited = threading.Event()
        for _ in range(round(START_TIMEOUT_S / 0.02)):
            if self._server.started:
                return
            if not self._thread.is_alive():
                break
            waited.wait(0.02)
        reason = str(self._failure) if self._failure else "its log says why"
        raise UnavailableError(f"the gateway could not start on {self.address}: {reason}")

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._settings.host, self._settings.gateway_port))
        except OSError as error:
            listener.close()
            raise UnavailableError(
                f"the gateway cannot listen on {self.address} ({error.strerror}); stop what holds the port, or set "
                "MODELWRIGHT_GATEWAY_PORT or MODELWRIGHT_HOST"
            ) from error
        return listener


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )


def _loop_factory() -> Any:  # noqa: ANN401 - uvloop has no types
    import uvloop  # noqa: PLC0415 - loaded only where a server runs

    return uvloop.new_event_loop
