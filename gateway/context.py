"""What the routes share: built once in `gateway.app`, reached through `Here`."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from gateway.changes import Changes
from gateway.collection import Collector
from gateway.events import Hub
from gateway.jobs import JobDirectory
from gateway.lifecycles.orchestrator import Orchestrator
from gateway.metrics import MetricBatcher
from gateway.prediction import Predictor
from gateway.settings import GatewaySettings
from gateway.upstream import Upstream
from services.common.db import Database
from services.common.storage import BlobStore


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The gateway's parts."""

    settings: GatewaySettings
    database: Database
    blobs: BlobStore
    storage_threads: Executor
    """Carry bytes to and from the storage, so that slow ones keep nothing else waiting."""
    jobs: JobDirectory
    changes: Changes
    hub: Hub
    """Streams of events, shared by all who watch the same."""
    batcher: MetricBatcher
    """Gathers metric points that arrive at the same time into one call."""
    predictor: Predictor
    collector: Collector
    upstream: Upstream
    orchestrator: Orchestrator
    registry: CollectorRegistry


def gateway_of(request: Request) -> Gateway:
    """Return the parts that answer this request."""
    found: Gateway = request.app.state.gateway
    return found


def actor_of(request: Request) -> str:
    """Return the name of who calls."""
    return str(request.scope.get("state", {}).get("actor", ""))


Here = Annotated[Gateway, Depends(gateway_of)]
Actor = Annotated[str, Depends(actor_of)]
