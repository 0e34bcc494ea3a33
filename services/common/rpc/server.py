"""A gRPC server with what all of ours have: errors, health, reflection, TLS, graceful stop."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.errors import UnavailableError
from services.common.rpc.credentials import server_credentials
from services.common.rpc.interceptor import ServerInterceptor
from services.common.settings import TlsSettings

log = logging.getLogger("modelwright.rpc")

MAX_MESSAGE_BYTES = 64 << 20
MAX_METADATA_BYTES = 256 << 10
"""Errors travel in metadata, with every violation they name."""


class RpcServer:
    """One service's gRPC server.

    Args:
        name: the service, for logs and thread names.
        address: `host:port` to bind; port 0 lets the system choose.
        tls: transport security; plain text while unset.
        threads: the most calls answered at once; half of them may be streams.
    """

    def __init__(self, name: str, address: str, *, tls: TlsSettings | None = None, threads: int = 32) -> None:
        self.name = name
        self.address = address
        self.stopping = threading.Event()
        """Set when the server stops: streams end then, so that clients reconnect elsewhere."""
        self._credentials = server_credentials(tls or TlsSettings())
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix=f"{name}-rpc"),
            interceptors=[ServerInterceptor(stream_slots=max(1, threads // 2))],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            ],
        )
        self._health = health.HealthServicer()
        self._names: list[str] = []
        self._on_stop: list[Callable[[], None]] = []

    def add(self, adder: Callable[[Any, grpc.Server], None], servicer: object) -> None:
        """Mount a servicer with its generated `add_…_to_server`."""
        adder(servicer, self._server)
        self._names.append(_service_name(adder))

    def on_stop(self, close: Callable[[], None]) -> None:
        """Call `close` once the last answer was given."""
        self._on_stop.append(close)

    def start(self) -> int:
        """Bind, serve and return the port.

        Raises:
            UnavailableError: the address cannot be bound.
        """
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server, pool=descriptor_pool.Default())
        port = self._bind()
        self._server.start()
        for name in ["", *self._names]:
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        host = self.address.rsplit(":", 1)[0]
        self.address = f"{host}:{port}"
        log.info("%s listens on %s", self.name, self.address)
        return port

    def stop(self, grace_s: float = 5.0) -> None:
        """Tell health checks, end streams, let running calls finish, then close."""
        self._health.enter_graceful_shutdown()
        self.stopping.set()
        self._server.stop(grace_s).wait()
        for close in reversed(self._on_stop):
            close()

    def _bind(self) -> int:
        try:
            if self._credentials:
                return int(self._server.add_secure_port(self.address, self._credentials))
            return int(self._server.add_insecure_port(self.address))
        except RuntimeError as error:
            raise UnavailableError(
                f"{self.name} cannot listen on {self.address}: another program may hold the port; "
                f"stop it or set MODELWRIGHT_{self.name.removesuffix('_svc').upper()}_ADDRESS"
            ) from error


def _service_name(adder: Callable[..., None]) -> str:
    """Return the full name of the service that a generated adder mounts, as its module's descriptor says."""
    short = adder.__name__.removeprefix("add_").removesuffix("Servicer_to_server")
    stub = adder.__globals__[f"{short}Stub"]
    probe = _Names()
    stub(probe)
    return probe.service


class _Names:
    """A stand-in channel that notes the service whose stub is built on it."""

    service = ""

    def _note(self, method: str, *_: object, **__: object) -> None:
        self.service = method.split("/")[1]

    unary_unary = unary_stream = stream_unary = stream_stream = _note
