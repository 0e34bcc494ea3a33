"""A real train_svc on a real database, reached over real gRPC."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proto.gen.modelwright.common.v1 import file_pb2, job_pb2_grpc, reference_pb2_grpc
from proto.gen.modelwright.train.v1 import registry_pb2_grpc, run_pb2_grpc
from services.common.rpc import Peer, RpcServer
from services.common.storage import BlobStore, FolderStorage
from services.train_svc.__main__ import build_server
from services.train_svc.settings import TrainSettings


class NotedBell:
    """Notes who would have been woken."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, str]] = []

    def ring(self, job_id: str, queue: str) -> None:
        self.rung.append((job_id, queue))


class TrainClient:
    """The service's four contracts."""

    def __init__(self, peer: Peer, blobs: BlobStore, bell: NotedBell) -> None:
        self.peer, self.blobs, self.bell = peer, blobs, bell
        self.runs = peer.stub(run_pb2_grpc.RunServiceStub)
        self.registry = peer.stub(registry_pb2_grpc.RegistryServiceStub)
        self.jobs = peer.stub(job_pb2_grpc.JobServiceStub)
        self.references = peer.stub(reference_pb2_grpc.ReferenceServiceStub)

    def store(self, path: str, data: bytes) -> file_pb2.File:
        """Keep a file in the storage and return its message."""
        return file_pb2.File(path=path, digest=self.blobs.put_bytes(data), size=len(data))


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> TrainSettings:
    return TrainSettings(
        home=tmp_path / "home", database_url=database_url, train_address="127.0.0.1:0", lease_s=5, reap_interval_s=0.2
    )


@pytest.fixture
def start_server(settings: TrainSettings) -> Iterator[Callable[[], tuple[RpcServer, NotedBell]]]:
    """Starts as many replicas on one database as are asked for."""
    started: list[RpcServer] = []

    def start() -> tuple[RpcServer, NotedBell]:
        bell = NotedBell()
        server = build_server(settings, bell)
        started.append(server)
        server.start()
        return server, bell

    yield start
    for server in reversed(started):
        server.stop(0.5)


@pytest.fixture
def connect(
    start_server: Callable[[], tuple[RpcServer, NotedBell]], settings: TrainSettings
) -> Iterator[Callable[[], TrainClient]]:
    """Starts a replica and gives its client."""
    peers: list[Peer] = []

    def start() -> TrainClient:
        server, bell = start_server()
        peers.append(Peer(server.address))
        return TrainClient(peers[-1], BlobStore(FolderStorage(Path(settings.storage()))), bell)

    yield start
    for peer in peers:
        peer.close()


@pytest.fixture
def client(connect: Callable[[], TrainClient]) -> TrainClient:
    return connect()


@pytest.fixture
def digest_of() -> Callable[[str], str]:
    """A sound digest for a word."""
    return lambda word: "sha256:" + hashlib.sha256(word.encode()).hexdigest()
