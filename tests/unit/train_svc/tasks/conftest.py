"""A real train_svc, a dataset server that knows one version, and a storage, on free ports and in scratch folders."""

import io
import itertools
import json
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import pytest
from PIL import Image

from proto.gen.modelwright.common.v1 import job_pb2
from proto.gen.modelwright.common.v1.job_pb2_grpc import JobServiceStub
from proto.gen.modelwright.data.v1 import dataset_pb2, dataset_pb2_grpc
from proto.gen.modelwright.train.v1 import run_pb2
from proto.gen.modelwright.train.v1.registry_pb2_grpc import RegistryServiceStub
from proto.gen.modelwright.train.v1.run_pb2_grpc import RunServiceStub
from services.common.errors import NotFoundError
from services.common.jobs.context import JobContext
from services.common.jobs.wire import job_from_wire, lease_from_wire
from services.common.records import Record, RecordWriter
from services.common.rpc import Peer, RpcServer, call
from services.common.storage import BlobStore, open_storage
from services.train_svc.__main__ import build_server
from services.train_svc.settings import TrainSettings

SPEC = {
    "model": {"template": "resnet_small", "width": 8},
    "epochs": 3,
    "batch_size": 16,
    "threads": 1,
    "device": "cpu",
    "model_name": "digits",
}


class Datasets(dataset_pb2_grpc.DatasetServiceServicer):
    """Knows the versions that were committed to it."""

    def __init__(self) -> None:
        self.digests: set[str] = set()

    def GetVersion(
        self, request: dataset_pb2.GetVersionRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.GetVersionResponse:
        if request.ref not in self.digests:
            raise NotFoundError(f"there is no dataset version {request.ref}")
        return dataset_pb2.GetVersionResponse(version=dataset_pb2.DatasetVersion(digest=request.ref))


class SilentBell:
    """Rings for nobody; tests claim jobs themselves."""

    def ring(self, *_: Any, **__: Any) -> None:
        """Do nothing."""


@dataclass
class House:
    """The services, and what a worker does with them."""

    settings: TrainSettings
    digest: str
    blobs: BlobStore
    outboxes: list[tuple[Connection, Connection]] = field(default_factory=list)

    def __post_init__(self) -> None:
        peer = Peer(self.settings.train_address)
        self.runs, self.jobs = peer.stub(RunServiceStub), peer.stub(JobServiceStub)
        self.registry = peer.stub(RegistryServiceStub)
        self._keys = itertools.count()

    def submit(self, **changes: object) -> run_pb2.Run:
        request = run_pb2.SubmitTrainingRequest(
            project="default", spec_json=json.dumps({**SPEC, **changes}), dataset_digest=self.digest
        )
        request.idempotency_key = f"key-{next(self._keys)}"
        found: run_pb2.Run = call(self.runs.SubmitTraining, request).run
        return found

    def claim(self) -> JobContext:
        answer = call(self.jobs.ClaimJob, job_pb2.ClaimJobRequest(worker="w", queues=["cpu"]))
        self.outboxes.append(multiprocessing.Pipe())
        return JobContext(
            job=job_from_wire(answer.job),
            lease=lease_from_wire(answer.lease),
            settings=self.settings,
            outbox=self.outboxes[-1][0],
        )

    def release(self, context: JobContext) -> None:
        lease = job_pb2.Lease(job_id=context.lease.job_id, token=context.lease.token)
        call(self.jobs.ReleaseJob, job_pb2.ReleaseJobRequest(lease=lease, reason="preempted"))

    def points(self, run_id: str) -> dict[str, dict[int, float]]:
        answer = call(self.runs.ReadMetrics, run_pb2.ReadMetricsRequest(run_id=run_id))
        return {series.key: dict(zip(series.steps, series.values, strict=True)) for series in answer.series}

    def steps(self, run_id: str) -> list[int]:
        answer = call(self.runs.ListCheckpoints, run_pb2.ListCheckpointsRequest(run_id=run_id))
        return [checkpoint.step for checkpoint in answer.checkpoints]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    datasets = Datasets()  # the generated class leaves the other calls unimplemented
    data = RpcServer("data_svc", "127.0.0.1:0")
    data.add(dataset_pb2_grpc.add_DatasetServiceServicer_to_server, datasets)
    port = data.start()
    unbound = TrainSettings(home=tmp_path / "home", data_address=f"127.0.0.1:{port}", train_address="127.0.0.1:0")
    train = build_server(unbound, bell=SilentBell())
    settings = unbound.model_copy(update={"train_address": f"127.0.0.1:{train.start()}"})
    blobs = BlobStore(open_storage(settings))
    digest = commit_digits(blobs, tmp_path)
    datasets.digests.add(digest)
    yield House(settings=settings, digest=digest, blobs=blobs)
    train.stop(0)
    data.stop(0)


def commit_digits(blobs: BlobStore, scratch: Path) -> str:
    """Commit 200 digits in three splits and return the manifest's digest."""
    import numpy as np
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    scaled = np.round(pictures * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    with RecordWriter(blobs, scratch) as writer:
        for index in range(200):
            split = ("train", "train", "train", "validation", "test")[index % 5]
            file = io.BytesIO()
            Image.fromarray(scaled[index]).save(file, "PNG")
            record = Record(id=f"{index}.png", split=split, labels=(str(labels[index]),), media_type="image/png")
            writer.add(record, file.getvalue())
        return writer.finish(
            schema={"labels": [str(label) for label in range(10)], "shape": [8, 8, 1]}, statistics={}
        ).digest


@pytest.fixture
def stop_at() -> Callable[[JobContext, int], None]:
    """Makes a context ask its body to stop once so many reports were sent."""

    def arrange(context: JobContext, reports: int) -> None:
        sent = itertools.count(1)
        send = context.outbox.send

        class Counting:
            def send(self, message: Any) -> None:
                if next(sent) >= reports:
                    context.stop.set()
                send(message)

        context.outbox = Counting()  # type: ignore[assignment]  # counts, and sends on

    return arrange
