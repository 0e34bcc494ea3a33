"""Run compress_svc: `python -m services.compress_svc [server | worker --queues cpu --slots 1]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from proto.gen.modelwright.common.v1 import reference_pb2_grpc
from proto.gen.modelwright.compress.v1 import compression_pb2_grpc
from services.common.db import Database
from services.common.jobs import JobService
from services.common.jobs.bell import CeleryBell, celery_app
from services.common.jobs.reaper import reaper_of
from services.common.jobs.server import add_job_service
from services.common.jobs.service import Bell
from services.common.jobs.worker import Employer
from services.common.rpc import Peer, RpcServer
from services.common.runtime import run_service
from services.common.settings import CommonSettings
from services.compress_svc.models import JOBS, METADATA
from services.compress_svc.server import CompressionServer, ReferenceServer, RemoteSources
from services.compress_svc.service import CompressionService, Sources, end_work
from services.compress_svc.settings import CompressSettings
from services.compress_svc.tasks import KINDS, PRELOAD

NAME = "compress_svc"
MIGRATIONS = "services.compress_svc.migrations"


@dataclass(frozen=True, kw_only=True)
class Composition:
    """The parts of one running compress_svc."""

    database: Database
    jobs: JobService
    compressions: CompressionService


def compose(settings: CompressSettings, bell: Bell, sources: Sources) -> Composition:
    """Build the use cases on a migrated database; nothing runs yet.

    Raises:
        UnavailableError: the database is away.
    """
    database = Database(settings.database_url_of(NAME), NAME, METADATA)
    database.migrate(MIGRATIONS)
    jobs = JobService(database, JOBS, bell, lease_s=settings.lease_s, on_change=end_work)
    compressions = CompressionService(database, jobs, sources, settings.compress_default_queue)
    return Composition(database=database, jobs=jobs, compressions=compressions)


def build_server(settings: CommonSettings | None = None, bell: Bell | None = None) -> RpcServer:
    """Return the service's server, ready to start.

    Args:
        settings: read from the environment unless given.
        bell: rung for queued jobs; Celery on the settings' broker unless given.
    """
    settings = _own(settings)
    celery_bell = None
    if bell is None:
        bell = celery_bell = CeleryBell(celery_app(settings.broker()), NAME)
    train, data = Peer(settings.train_address, settings.tls), Peer(settings.data_address, settings.tls)
    parts = compose(settings, bell, RemoteSources(train, data))
    server = RpcServer(NAME, settings.listen_address("compress"), tls=settings.tls, threads=settings.rpc_threads)
    mount(server, parts)
    reaper = reaper_of(parts.jobs, settings.reap_interval_s)
    # They end in the reverse order, the database last.
    server.on_stop(parts.database.close)
    server.on_stop(train.close)
    server.on_stop(data.close)
    if celery_bell:
        server.on_stop(celery_bell.close)
    server.on_stop(reaper.stop)
    reaper.start()
    return server


def mount(server: RpcServer, parts: Composition) -> None:
    """Put the service's three contracts on a server."""
    server.add(compression_pb2_grpc.add_CompressionServiceServicer_to_server, CompressionServer(parts.compressions))
    server.add(reference_pb2_grpc.add_ReferenceServiceServicer_to_server, ReferenceServer(parts.compressions))
    add_job_service(server, parts.jobs)


def employer(settings: CommonSettings | None = None) -> Employer:
    """Return what a worker of this service does."""
    address = (settings or CommonSettings()).compress_address
    return Employer(service=NAME, address=address, kinds=KINDS, preload=PRELOAD)


def _own(settings: CommonSettings | None) -> CompressSettings:
    if settings is None:
        return CompressSettings()
    return settings if isinstance(settings, CompressSettings) else CompressSettings(**dict(settings))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server or a worker and return the exit code."""
    return run_service(NAME, CompressSettings(), build_server, employer, arguments)


if __name__ == "__main__":
    sys.exit(main())
