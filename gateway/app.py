"""The one place where the gateway is put together."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gateway import metrics
from gateway.changes import Changes
from gateway.collection import Collector
from gateway.context import Gateway
from gateway.edge import Edge
from gateway.events import Hub
from gateway.idempotency import AnswerStore, Idempotency
from gateway.jobs import JobDirectory
from gateway.lifecycles.orchestrator import Orchestrator
from gateway.models import Table
from gateway.openapi import describe
from gateway.pages import status
from gateway.prediction import Predictor
from gateway.problems import from_http, from_validation, problem
from gateway.routers import (
    blobs,
    compressions,
    datasets,
    deployments,
    jobs,
    lifecycles,
    lineage,
    models,
    presigned,
    runs,
    system,
    uploads,
)
from gateway.settings import GatewaySettings
from gateway.upstream import Upstream
from gateway.version import VERSION
from services.common.db import Database
from services.common.errors import ModelwrightError
from services.common.storage import BlobStore, open_storage

STORAGE_THREADS = 16
ROUTERS = (
    presigned.routes,
    uploads.routes,
    blobs.routes,
    datasets.routes,
    runs.actions,
    runs.routes,
    models.actions,
    models.routes,
    compressions.routes,
    deployments.routes,
    jobs.routes,
    lifecycles.routes,
    lineage.routes,
    system.routes,
    status.routes,
)


def build_app(settings: GatewaySettings) -> FastAPI:
    """Return the application. Connections are made and the database migrated when it starts."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    app = FastAPI(
        title="Modelwright",
        version=VERSION,
        docs_url=None,  # Swagger's page loads its program from another site.
        redoc_url=None,
        lifespan=_lifespan(settings, registry),
    )
    # The hot path stands first: every route before it would cost each request a comparison.
    app.router.routes[:0] = metrics.routes()
    for routes in ROUTERS:
        app.include_router(routes)
    _add_handlers(app)
    app.add_middleware(Idempotency, store=lambda: app.state.answers, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(Edge, settings=settings, identities=settings.identities(), registry=registry)
    app.openapi = _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way to add to it.
    return app


def _lifespan(settings: GatewaySettings, registry: CollectorRegistry) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            here = _compose(settings, registry, stack)
            app.state.gateway = here
            app.state.answers = AnswerStore(here.database, settings.idempotency_ttl_s)
            await here.orchestrator.resume()
            yield

    return lifespan


def _compose(settings: GatewaySettings, registry: CollectorRegistry, stack: AsyncExitStack) -> Gateway:
    """Build the parts; the stack closes them in reverse order."""
    database = Database(settings.database_url_of("gateway"), "gateway", Table.metadata)
    stack.callback(database.close)
    database.migrate("gateway.migrations")
    blobs_store = BlobStore(open_storage(settings))
    threads = ThreadPoolExecutor(STORAGE_THREADS, thread_name_prefix="gateway-storage")
    stack.callback(threads.shutdown, wait=False, cancel_futures=True)
    upstream = Upstream(settings)
    stack.push_async_callback(upstream.close)
    changes = Changes()
    orchestrator = Orchestrator(
        database,
        upstream,
        changes.notify,
        limit=settings.max_lifecycles,
        deploy_timeout_s=settings.deploy_timeout_s,
    )
    hub = Hub(heartbeat_s=settings.heartbeat_s, max_streams=settings.max_streams)
    batcher = metrics.MetricBatcher(upstream)
    predictor = Predictor(upstream, settings.tls)
    for close in (predictor.close, batcher.close, hub.close, orchestrator.close):
        stack.push_async_callback(close)
    return Gateway(
        settings=settings,
        database=database,
        blobs=blobs_store,
        storage_threads=threads,
        upstream=upstream,
        orchestrator=orchestrator,
        changes=changes,
        jobs=JobDirectory(upstream),
        hub=hub,
        batcher=batcher,
        predictor=predictor,
        collector=Collector(upstream, blobs_store, threads, settings.gc_grace_s),
        registry=registry,
    )


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(ModelwrightError)
    async def domain(request: Request, error: ModelwrightError) -> Response:
        return problem(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> Response:
        return from_validation(error, request.url.path)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return from_http(error, request.method, request.url.path)


def _openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            app.openapi_schema = describe(schema)
        return app.openapi_schema

    return build
