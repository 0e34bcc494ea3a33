"""A compress_svc beside a real registry, a real storage folder and digits as PNG files; no torch."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from proto.gen.modelwright.common.v1 import file_pb2, job_pb2
from proto.gen.modelwright.common.v1.job_pb2_grpc import JobServiceStub
from proto.gen.modelwright.compress.v1 import compression_pb2
from proto.gen.modelwright.compress.v1.compression_pb2_grpc import CompressionServiceStub
from proto.gen.modelwright.data.v1 import dataset_pb2, dataset_pb2_grpc
from proto.gen.modelwright.train.v1 import registry_pb2
from proto.gen.modelwright.train.v1.registry_pb2_grpc import RegistryServiceStub
from services.common.errors import NotFoundError
from services.common.jobs.context import JobContext
from services.common.jobs.wire import job_from_wire, lease_from_wire
from services.common.packages import Card, Golden, Signature, TensorSpec, package_digest, upload_package, write_package
from services.common.records import Record, RecordWriter
from services.common.rpc import Peer, RpcServer, call
from services.common.storage import BlobStore, open_storage
from services.compress_svc import __main__ as compress_main
from services.compress_svc.settings import CompressSettings
from services.train_svc import __main__ as train_main
from services.train_svc.settings import TrainSettings

PREPROCESS = [
    {"decode_image": {"mode": "L", "height": 8, "width": 8}},
    {"normalize": {"mean": [0.3], "std": [0.4]}},
]
RUNS = 15


class SilentBell:
    def ring(self, job_id: str, queue: str) -> None:
        """Workers of these tests look for themselves."""


@dataclass
class Datasets(dataset_pb2_grpc.DatasetServiceServicer):
    """One dataset version, as data_svc gives it."""

    version: dataset_pb2.DatasetVersion = field(default_factory=dataset_pb2.DatasetVersion)

    def GetVersion(
        self, request: dataset_pb2.GetVersionRequest, context: grpc.ServicerContext
    ) -> dataset_pb2.GetVersionResponse:
        if request.ref not in ("digits", self.version.digest):
            raise NotFoundError(f"there is no dataset {request.ref!r}")
        return dataset_pb2.GetVersionResponse(version=self.version)


@dataclass(kw_only=True)
class Site:
    settings: CompressSettings
    blobs: BlobStore
    parent: registry_pb2.ModelVersion
    dataset: dataset_pb2.DatasetVersion
    compressions: CompressionServiceStub
    jobs: JobServiceStub
    registry: RegistryServiceStub

    def submit(self, variants: list[Any], **changes: Any) -> compression_pb2.SubmitCompressionResponse:
        recipe = {"variants": variants, "latency_runs": RUNS, "warmup_runs": 1}
        values = {
            "project": "default",
            "model_ref": "digits",
            "dataset_digest": "digits",
            "recipe_json": json.dumps(recipe),
        }
        answer: compression_pb2.SubmitCompressionResponse = call(
            self.compressions.SubmitCompression, compression_pb2.SubmitCompressionRequest(**(values | changes))
        )
        return answer

    def claim(self, on_report: Callable[[JobContext], None] = lambda _: None) -> JobContext:
        """Claim the next job as a worker does, and return what its child is given."""
        claimed = call(self.jobs.ClaimJob, job_pb2.ClaimJobRequest(worker="w", queues=["cpu"]))
        inbox, outbox = Pipe(duplex=False)
        context = Context(
            job=job_from_wire(claimed.job),
            lease=lease_from_wire(claimed.lease),
            settings=self.settings,
            outbox=outbox,
        )
        context.inbox, context.on_report = inbox, on_report
        return context

    def get(self, compression_id: str) -> compression_pb2.Compression:
        request = compression_pb2.GetCompressionRequest(id=compression_id)
        found: compression_pb2.Compression = call(self.compressions.GetCompression, request).compression
        return found

    def children(self) -> list[registry_pb2.ModelVersion]:
        request = registry_pb2.ListModelVersionsRequest(project="default", name="digits")
        return [found for found in call(self.registry.ListModelVersions, request).versions if found.parent]


class Context(JobContext):
    """A job's context whose reports a test hears instead of a supervisor."""

    inbox: Any
    on_report: Callable[[JobContext], None]

    def report(self, *, progress: float, eta_s: float | None = None, message: str | None = None) -> None:
        super().report(progress=progress, eta_s=eta_s, message=message)
        self.inbox.recv()
        self.on_report(self)


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    kind: Any = Datasets  # The stubs call methods abstract that the runtime answers with UNIMPLEMENTED.
    datasets = kind()
    data = RpcServer("data_svc", "127.0.0.1:0")
    data.add(dataset_pb2_grpc.add_DatasetServiceServicer_to_server, datasets)
    data.start()
    # On SQLite each service has a file of its own under home; on PostgreSQL a schema of the one database.
    shared = "" if database_url.startswith("sqlite") else database_url
    common: dict[str, Any] = {"home": tmp_path, "database_url": shared, "data_address": data.address}
    train = train_main.build_server(TrainSettings(train_address="127.0.0.1:0", **common), SilentBell())
    train.start()
    settings = CompressSettings(train_address=train.address, compress_address="127.0.0.1:0", **common)
    compress = compress_main.build_server(settings, SilentBell())
    compress.start()
    settings = settings.model_copy(update={"compress_address": compress.address})
    blobs = BlobStore(open_storage(settings))
    datasets.version.CopyFrom(dataset(blobs, tmp_path))
    train_peer, compress_peer = Peer(train.address), Peer(compress.address)
    registry = train_peer.stub(RegistryServiceStub)
    yield Site(
        settings=settings,
        blobs=blobs,
        parent=register(registry, blobs, tmp_path / "made"),
        dataset=datasets.version,
        compressions=compress_peer.stub(CompressionServiceStub),
        jobs=compress_peer.stub(JobServiceStub),
        registry=registry,
    )
    for peer in (train_peer, compress_peer):
        peer.close()
    for server in (compress, train, data):
        server.stop(0)


def digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * 15).astype(np.uint8), found.target


def dataset(blobs: BlobStore, scratch: Path) -> dataset_pb2.DatasetVersion:
    pictures, targets = digits()
    schema = {"labels": [str(i) for i in range(10)], "splits": {"train": 400, "test": 100}, "media_type": "image/png"}
    with RecordWriter(blobs, scratch) as writer:
        for i in range(500):
            file = io.BytesIO()
            Image.fromarray(pictures[i]).save(file, "PNG")
            split = "test" if i % 5 == 0 else "train"
            writer.add(Record(id=f"{i}.png", split=split, labels=(str(targets[i]),)), file.getvalue())
        written = writer.finish(schema=schema, statistics={})
    files = [file_pb2.File(path="manifest.arrow", digest=written.digest, size=written.manifest_size)]
    files += [file_pb2.File(path=f"shard-{i}", digest=s.digest, size=s.size) for i, s in enumerate(written.shards)]
    return dataset_pb2.DatasetVersion(
        project="default", name="digits", digest=written.digest, files=files, schema_json=json.dumps(schema)
    )


def register(registry: RegistryServiceStub, blobs: BlobStore, folder: Path) -> registry_pb2.ModelVersion:
    """Register a trained package: fixed convolutions, and a last layer fitted by least squares."""
    model, golden = network()
    write_package(
        folder,
        model=model,
        signature=Signature(
            inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 1, 8, 8)),),
            outputs=(TensorSpec(name="logits", datatype="FP32", shape=(-1, 10)),),
        ),
        golden=golden,
        preprocess=PREPROCESS,
        labels=[str(i) for i in range(10)],
        card=Card(name="digits", variant="trained"),
    )
    files = upload_package(folder, blobs)
    version = registry_pb2.ModelVersion(
        project="default",
        name="digits",
        digest=package_digest(files),
        variant="trained",
        files=[file_pb2.File(path=file.path, digest=file.digest, size=file.size) for file in files],
    )
    found: registry_pb2.ModelVersion = call(
        registry.CreateModelVersion, registry_pb2.CreateModelVersionRequest(version=version)
    ).version
    return found


def network() -> tuple[bytes, Golden]:
    from onnxruntime import InferenceSession

    rng = np.random.default_rng(0)
    pictures, targets = digits()
    x = ((pictures[:, None] / 255.0 - 0.3) / 0.4).astype(np.float32)
    kernels = rng.normal(size=(32, 1, 3, 3)).astype(np.float32) / 3
    features = InferenceSession(graph(kernels, np.eye(512, dtype=np.float32)), providers=["CPUExecutionProvider"])
    hidden = features.run(None, {"input": x})[0]
    fit = np.linalg.solve(hidden.T @ hidden + 10 * np.eye(512), hidden.T @ np.eye(10)[targets])
    model = graph(kernels, fit.astype(np.float32))
    logits = InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"input": x[:6]})[0]
    return model, Golden(inputs={"input": x[:6]}, outputs={"logits": logits})


def graph(kernels: np.ndarray, last: np.ndarray) -> bytes:
    nodes = [
        helper.make_node("Conv", ["input", "k"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "w"], ["logits"], name="last"),
    ]
    proto = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", last.shape[1]])],
        [numpy_helper.from_array(kernels, "k"), numpy_helper.from_array(last, "w")],
    )
    model: onnx.ModelProto = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())
