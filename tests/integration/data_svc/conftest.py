import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from proto.gen.modelwright.common.v1 import job_pb2
from proto.gen.modelwright.common.v1.job_pb2_grpc import JobServiceStub
from proto.gen.modelwright.common.v1.reference_pb2_grpc import ReferenceServiceStub
from proto.gen.modelwright.data.v1 import dataset_pb2 as pb
from proto.gen.modelwright.data.v1.dataset_pb2_grpc import DatasetServiceStub
from services.common.jobs.worker import Worker
from services.common.rpc import Peer, call
from services.data_svc.__main__ import build_server, employer
from services.data_svc.settings import DataSettings


class Silence:
    """A bell that is never heard: the worker looks for itself."""

    def ring(self, job_id, queue):
        pass


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    picture = Image.new("L", (8, 8))
    picture.putdata([(value * 31 + index) % 256 for index in range(64)])
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class House:
    """A running data service, its client and its worker."""

    def __init__(self, settings: DataSettings):
        self.server = build_server(settings, Silence())
        self.server.start()
        self.settings = settings.model_copy(update={"data_address": self.server.address})
        self.peer = Peer(self.server.address)
        self.data = self.peer.stub(DatasetServiceStub)
        self.jobs = self.peer.stub(JobServiceStub)
        self.references = self.peer.stub(ReferenceServiceStub)
        self.worker = Worker([employer(self.settings)], ["cpu"], 1, self.settings, "w1")

    def create(self, data, filename="digits.tar", *, declare=True):
        digest = "sha256:" + hashlib.sha256(data).hexdigest() if declare else ""
        request = pb.CreateUploadRequest(project="p", filename=filename, size=len(data), digest=digest)
        return call(self.data.CreateUpload, request).upload

    def write(self, upload_id, offset, data):
        messages = [
            pb.WriteUploadRequest(upload_id=upload_id, offset=offset, data=data[at : at + 100_000])
            for at in range(0, len(data), 100_000)
        ]
        stream: Any = iter(messages)
        return call(self.data.WriteUpload, stream).upload

    def complete(self, upload_id):
        return call(self.data.CompleteUpload, pb.CompleteUploadRequest(id=upload_id)).upload

    def upload(self, data, filename="digits.tar"):
        upload = self.create(data, filename)
        if upload.state != pb.UPLOAD_STATE_COMPLETE:
            self.write(upload.id, 0, data)
            self.complete(upload.id)
        return upload.id

    def commit(self, *upload_ids, name="digits", seed=0, **fields):
        policy = pb.SplitPolicy(seed=seed, stratify=True)
        request = pb.CommitDatasetRequest(project="p", name=name, upload_ids=upload_ids, split=policy, **fields)
        return call(self.data.CommitDataset, request).job

    def done(self, job):
        """Let the worker do what waits, and return how the job ended."""
        self.worker.work("data_svc")
        return call(self.jobs.GetJob, job_pb2.GetJobRequest(id=job.id)).job

    def version(self, ref):
        return call(self.data.GetVersion, pb.GetVersionRequest(project="p", ref=ref)).version

    def close(self):
        self.peer.close()
        self.server.stop(0)


@pytest.fixture
def build_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    houses: list[House] = []

    def build(**changes):
        options: dict[str, Any] = {"home": tmp_path / "home", "data_address": "127.0.0.1:0", "lease_s": 5.0} | changes
        houses.append(House(DataSettings(**options)))
        return houses[-1]

    yield build
    for house in houses:
        house.close()


@pytest.fixture
def house(build_house: Callable[..., House]) -> House:
    return build_house()


@pytest.fixture
def digits() -> dict[str, bytes]:
    """Forty pictures of two classes, by path."""
    return {f"{number % 2}/{number:03}.png": png(number) for number in range(40)}


@pytest.fixture
def pack() -> Callable[[dict[str, bytes]], bytes]:
    return tar
