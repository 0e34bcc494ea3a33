"""The REST port: listening, TLS, slow clients and a stop that loses no request."""

import asyncio
import ssl

from services.common.errors import InvalidError, UnavailableError
from services.common.settings import TlsSettings
from services.serve_svc.inference.rest.connection import Handler, Hub, sweep

SWEEP_S = 1.0
BACKLOG = 4096


def tls_context(tls: TlsSettings) -> ssl.SSLContext | None:
    """Return what the port shows and demands, or None for plain text."""
    if not tls.certificate and not tls.key:
        return None
    if not tls.certificate or not tls.key:
        raise InvalidError("TLS needs both a certificate and its key; set the other one too", field="tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.certificate, tls.key)
    if tls.require_client_certificate:
        if not tls.ca:
            raise InvalidError("require_client_certificate needs `ca`: whose signatures to trust", field="tls.ca")
        context.load_verify_locations(tls.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class RestPort:
    """The server behind the REST port.

    Args:
        handler: answers one request.
        max_body_bytes: largest body.
        read_timeout_s: how long a request may take to arrive.
        idle_timeout_s: how long a connection may stay silent.
    """

    def __init__(self, handler: Handler, *, max_body_bytes: int, read_timeout_s: float, idle_timeout_s: float) -> None:
        self.hub = Hub(handler=handler, max_body_bytes=max_body_bytes)
        self._read_timeout_s = read_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._server: asyncio.Server
        self._sweeper: asyncio.Task[None]

    async def start(self, host: str, port: int, tls: TlsSettings) -> int:
        """Bind, serve and return the port.

        Raises:
            UnavailableError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self.hub, host, port, ssl=tls_context(tls), backlog=BACKLOG, reuse_address=True
            )
        except OSError as error:
            raise UnavailableError(
                f"the inference server cannot listen on {host}:{port} (REST): {error.strerror or error}; another "
                "program may hold the port: stop it or set MODELWRIGHT_INFERENCE_PORT"
            ) from error
        self._sweeper = loop.create_task(self._sweep())
        return int(self._server.sockets[0].getsockname()[1])

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_S, self._read_timeout_s / 2))
            sweep(self.hub, read_timeout_s=self._read_timeout_s, idle_timeout_s=self._idle_timeout_s)

    async def stop(self, grace_s: float) -> None:
        """Listen no more, answer what has come, close."""
        self.hub.draining = True
        self._server.close()
        self._sweeper.cancel()
        deadline = asyncio.get_running_loop().time() + grace_s
        while any(c.busy or c.reading for c in self.hub.connections) and asyncio.get_running_loop().time() < deadline:
            for connection in [c for c in self.hub.connections if not c.busy and not c.reading]:
                connection.close()
            await asyncio.sleep(0.02)
        for connection in list(self.hub.connections):
            connection.close()
