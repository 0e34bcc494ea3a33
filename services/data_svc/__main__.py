"""Composes and runs the data service: `python -m services.data_svc [server | worker --queues cpu]`."""

import sys
from dataclasses import dataclass
from functools import partial

from proto.gen.modelwright.common.v1.reference_pb2_grpc import add_ReferenceServiceServicer_to_server
from proto.gen.modelwright.data.v1.dataset_pb2_grpc import add_DatasetServiceServicer_to_server
from services.common.db import Database
from services.common.jobs import JobService
from services.common.jobs.bell import CeleryBell, celery_app
from services.common.jobs.reaper import reaper_of
from services.common.jobs.server import add_job_service
from services.common.jobs.service import Bell
from services.common.jobs.worker import Employer
from services.common.periodic import Periodic
from services.common.rpc import RpcServer
from services.common.runtime import run_service
from services.common.settings import CommonSettings
from services.common.storage import BlobStore, open_storage
from services.data_svc.models import JOB_TABLES, METADATA
from services.data_svc.server import DatasetServer, ReferenceServer
from services.data_svc.service import CommitService, UploadService, VersionService
from services.data_svc.service.commits import release_uploads
from services.data_svc.settings import DataSettings

NAME = "data_svc"


@dataclass(frozen=True, kw_only=True)
class DataService:
    """The data service, put together but not yet serving."""

    settings: DataSettings
    database: Database
    jobs: JobService
    uploads: UploadService
    commits: CommitService
    versions: VersionService

    def mount(self, server: RpcServer) -> None:
        """Add its gRPC services to a server, and its threads to the server's life."""
        datasets = DatasetServer(self.uploads, self.commits, self.versions)
        server.add(add_DatasetServiceServicer_to_server, datasets)
        server.add(add_ReferenceServiceServicer_to_server, ReferenceServer(self.versions))
        add_job_service(server, self.jobs)
        reaper = reaper_of(self.jobs, self.settings.reap_interval_s)
        expiry = Periodic("upload expiry", self.uploads.expire, self.settings.expiry_interval_s)
        server.on_stop(self.database.close)
        for thread in (reaper, expiry):
            thread.start()
            server.on_stop(thread.stop)


def compose(settings: CommonSettings, bell: Bell) -> DataService:
    """Open database and storage, bring the tables up to date, and put the use cases together."""
    own = settings if isinstance(settings, DataSettings) else DataSettings(**dict(settings))
    database = Database(own.database_url_of(NAME), NAME, METADATA)
    database.migrate("services.data_svc.migrations")
    storage = open_storage(own)
    blobs = BlobStore(storage)
    jobs = JobService(database, JOB_TABLES, bell, lease_s=own.lease_s, on_change=release_uploads)
    return DataService(
        settings=own,
        database=database,
        jobs=jobs,
        uploads=UploadService(database, storage, own),
        commits=CommitService(database, blobs, jobs, own.commit_queue),
        versions=VersionService(database, blobs, own),
    )


def build_server(settings: CommonSettings | None = None, bell: Bell | None = None) -> RpcServer:
    """Return the service's gRPC server, not yet started; without a bell, one on the settings' broker."""
    settings = settings or DataSettings()
    server = RpcServer(NAME, settings.listen_address("data"), tls=settings.tls, threads=settings.rpc_threads)
    if bell is None:
        bell = CeleryBell(celery_app(settings.broker()), NAME)
        server.on_stop(bell.close)
    compose(settings, bell).mount(server)
    return server


def employer(settings: CommonSettings | None = None) -> Employer:
    """Return what a worker of this service does."""
    settings = settings or DataSettings()
    # The kinds alone: loading `tasks` would bring Arrow and Pillow into the worker's own process.
    return Employer(
        service=NAME,
        address=settings.data_address,
        kinds={"commit": "services.data_svc.tasks:commit"},
        preload=["services.data_svc.tasks"],
    )


def main() -> int:
    """Run as the command line says."""
    settings = DataSettings()
    return run_service(NAME, settings, partial(build_server, settings), partial(employer, settings))


if __name__ == "__main__":
    sys.exit(main())
