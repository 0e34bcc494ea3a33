"""The inference server as a whole: both ports, the catalog and whoever fills it."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from services.serve_svc.engine.catalog import Catalog
from services.serve_svc.inference.metrics import process_registry
from services.serve_svc.inference.rest.port import RestPort
from services.serve_svc.inference.rest.routes import Routes
from services.serve_svc.inference.rpc.server import GrpcPort
from services.serve_svc.settings import InferenceSettings

log = logging.getLogger("modelwright.serve")

Feed = Callable[["InferenceServer"], Awaitable[None]]
"""Fills the catalog for as long as the server runs."""


class InferenceServer:
    """One process that answers the Open Inference Protocol on two ports."""

    def __init__(self, settings: InferenceSettings) -> None:
        self.settings = settings
        self.catalog = Catalog()
        self.rest_port = 0
        """Set once started."""
        self.grpc_port = 0
        """Set once started."""
        self._stopping = False
        self._rest = RestPort(
            Routes(
                self.catalog,
                process_registry(),
                max_body_bytes=settings.max_body_bytes,
                accepts=self.accepts,
                connections=lambda: len(self._rest.hub.connections),
            ),
            max_body_bytes=settings.max_body_bytes,
            read_timeout_s=settings.read_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
        )
        self._grpc = GrpcPort(self.catalog, self.accepts, max_body_bytes=settings.max_body_bytes)

    def accepts(self) -> bool:
        """Return whether new work is wanted."""
        return not self._stopping

    @property
    def rest_url(self) -> str:
        """Where others reach the REST port."""
        scheme = "https" if self.settings.tls.certificate else "http"
        return f"{scheme}://{self.settings.reachable_host()}:{self.rest_port}"

    @property
    def grpc_address(self) -> str:
        """Where others reach the gRPC port."""
        return f"{self.settings.reachable_host()}:{self.grpc_port}"

    async def start(self) -> None:
        """Bind both ports."""
        host, tls = self.settings.host, self.settings.tls
        self.rest_port = await self._rest.start(host, self.settings.port, tls)
        self.grpc_port = await self._grpc.start(f"{host}:{self.settings.grpc_port}", tls)
        log.info("inference listens on %s (REST) and %s (gRPC)", self.rest_url, self.grpc_address)

    async def show_health(self) -> None:
        """Keep gRPC's health service as ready as the catalog is."""
        while True:
            await self._grpc.show(ready=self.accepts() and self.catalog.ready)
            await self.catalog.changed.wait()
            self.catalog.changed.clear()

    async def stop(self) -> None:
        """Answer what has come, take no more, release the models."""
        self._stopping = True
        await self._grpc.show(ready=False)
        await asyncio.gather(self._rest.stop(self.settings.drain_s), self._grpc.stop(self.settings.drain_s))
        await self.catalog.close()


async def serve(settings: InferenceSettings, feed: Feed, *, stop: asyncio.Event | None = None) -> None:
    """Run a server until SIGTERM, SIGINT or `stop`; a feed that fails stops it too."""
    server = InferenceServer(settings)
    ended = stop or asyncio.Event()
    if stop is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await server.start()
    tasks = [asyncio.ensure_future(work) for work in (feed(server), server.show_health(), _wait(ended))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await server.stop()


async def _wait(ended: asyncio.Event) -> None:
    await ended.wait()
