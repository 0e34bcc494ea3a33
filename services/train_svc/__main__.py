"""Run train_svc: `python -m services.train_svc [server | worker --queues gpu,cpu --slots 1]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from proto.gen.modelwright.common.v1 import reference_pb2_grpc
from proto.gen.modelwright.train.v1 import registry_pb2_grpc, run_pb2_grpc
from services.common.db import Database
from services.common.jobs import JobService
from services.common.jobs.bell import CeleryBell, celery_app
from services.common.jobs.reaper import reaper_of
from services.common.jobs.server import add_job_service
from services.common.jobs.service import Bell
from services.common.jobs.worker import Employer
from services.common.rpc import RpcServer
from services.common.runtime import run_service
from services.common.settings import CommonSettings
from services.common.signals import Signal
from services.common.storage import BlobStore, open_storage
from services.train_svc.models import JOBS, METADATA, SCHEMA
from services.train_svc.server import ReferenceServer, RegistryServer, RunServer
from services.train_svc.service import FileService, Ingest, MetricService, RegistryService, RunService
from services.train_svc.settings import TrainSettings
from services.train_svc.tasks import KINDS, PRELOAD

NAME = "train_svc"
MIGRATIONS = "services.train_svc.migrations"


@dataclass(frozen=True, kw_only=True)
class Composition:
    """The parts of one running train_svc."""

    database: Database
    jobs: JobService
    runs: RunService
    ingest: Ingest
    metrics: MetricService
    files: FileService
    registry: RegistryService


def compose(settings: TrainSettings, bell: Bell) -> Composition:
    """Build the use cases on a migrated database; nothing runs yet.

    Raises:
        UnavailableError: the database or the storage is away.
    """
    database = Database(settings.database_url_of(NAME), SCHEMA, METADATA)
    database.migrate(MIGRATIONS)
    signal = Signal()
    runs = RunService(database, signal, default_queue=settings.train_default_queue)
    jobs = JobService(database, JOBS, bell, lease_s=settings.lease_s, on_change=runs.follow)
    runs.jobs = jobs
    ingest = Ingest(
        database,
        jobs.check_lease,
        signal.notify,
        group_points=settings.train_ingest_group_points,
        queue_points=settings.train_ingest_queue_points,
        timeout_s=settings.train_ingest_timeout_s,
    )
    return Composition(
        database=database,
        jobs=jobs,
        runs=runs,
        ingest=ingest,
        metrics=MetricService(database, ingest, signal),
        files=FileService(database, jobs.check_lease),
        registry=RegistryService(database, jobs.check_lease, BlobStore(open_storage(settings))),
    )


def build_server(settings: TrainSettings | None = None, bell: Bell | None = None) -> RpcServer:
    """Return the service's server, ready to start.

    Args:
        settings: read from the environment unless given.
        bell: rung for queued jobs; Celery on the settings' broker unless given.
    """
    settings = settings or TrainSettings()
    celery_bell = None
    if bell is None:
        bell = celery_bell = CeleryBell(celery_app(settings.broker()), NAME)
    parts = compose(settings, bell)
    server = RpcServer(NAME, settings.listen_address("train"), tls=settings.tls, threads=settings.rpc_threads)
    mount(server, parts)
    reaper = reaper_of(parts.jobs, settings.reap_interval_s)
    # They end in the reverse order, the database last.
    server.on_stop(parts.database.close)
    if celery_bell:
        server.on_stop(celery_bell.close)
    server.on_stop(parts.ingest.stop)
    server.on_stop(reaper.stop)
    parts.ingest.start()
    reaper.start()
    return server


def mount(server: RpcServer, parts: Composition) -> None:
    """Put the service's four contracts on a server."""
    runs = RunServer(parts.runs, parts.metrics, parts.files, server.stopping.is_set)
    server.add(run_pb2_grpc.add_RunServiceServicer_to_server, runs)
    server.add(registry_pb2_grpc.add_RegistryServiceServicer_to_server, RegistryServer(parts.registry))
    server.add(reference_pb2_grpc.add_ReferenceServiceServicer_to_server, ReferenceServer(parts.files))
    add_job_service(server, parts.jobs)


def employer(settings: CommonSettings | None = None) -> Employer:
    """Return what a worker of this service does."""
    address = (settings or CommonSettings()).train_address
    return Employer(service=NAME, address=address, kinds=KINDS, preload=PRELOAD)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server or a worker and return the exit code."""
    return run_service(NAME, TrainSettings(), build_server, employer, arguments)


if __name__ == "__main__":
    sys.exit(main())
