"""A real control plane, real inference processes, and a registry that knows the packages of a test."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from proto.gen.modelwright.common.v1.file_pb2 import File
from proto.gen.modelwright.serve.v1 import deployment_pb2 as pb
from proto.gen.modelwright.serve.v1.deployment_pb2_grpc import DeploymentServiceStub
from proto.gen.modelwright.train.v1 import registry_pb2, registry_pb2_grpc
from services.common.errors import NotFoundError
from services.common.packages import Card, Golden, PackageFile, Signature, TensorSpec, package_digest, upload_package
from services.common.packages import write_package as write
from services.common.rpc import Peer, RpcServer, call, stream
from services.common.settings import CommonSettings
from services.common.storage import BlobStore, open_storage
from services.serve_svc.__main__ import build_server
from services.serve_svc.settings import ServeSettings

ROOT = Path(__file__).resolve().parents[3]
DATASET = "sha256:" + "d" * 64


def write_package(folder: Path, *, weight: float, golden_shift: float = 0.0) -> Path:
    """Write a package whose three outputs are `weight` times the sum of an 8x8 picture, times 1, 2 and 3."""
    matrix = np.tile(np.array([[1.0, 2.0, 3.0]], np.float32) * weight, (64, 1))
    nodes = [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["output"])]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(matrix, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    pictures = np.linspace(0, 1, 128, dtype=np.float32).reshape(2, 1, 8, 8)
    write(
        folder,
        model=model.SerializeToString(),
        signature=Signature(
            inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 1, 8, 8)),),
            outputs=(TensorSpec(name="output", datatype="FP32", shape=(-1, 3)),),
        ),
        golden=Golden(
            inputs={"input": pictures}, outputs={"output": pictures.reshape(2, 64) @ matrix + np.float32(golden_shift)}
        ),
        preprocess=[
            {"decode_image": {"mode": "L", "height": 8, "width": 8}},
            {"normalize": {"mean": [0.0], "std": [1.0]}},
        ],
        labels=["low", "middle", "high"],
        card=Card(name="sum", variant="trained", run="run_1", dataset=DATASET),
    )
    return folder


class KnownModels(registry_pb2_grpc.RegistryServiceServicer):
    """A registry of what a test has put into the storage."""

    def __init__(self) -> None:
        self.versions: dict[str, registry_pb2.ModelVersion] = {}

    def GetModelVersion(
        self, request: registry_pb2.GetModelVersionRequest, context: grpc.ServicerContext
    ) -> registry_pb2.GetModelVersionResponse:
        if request.ref not in self.versions:
            raise NotFoundError(f"no model version {request.ref!r}")
        return registry_pb2.GetModelVersionResponse(version=self.versions[request.ref])

    def put(self, ref: str, number: int, files: list[PackageFile]) -> str:
        digest = package_digest(files)
        self.versions[ref] = registry_pb2.ModelVersion(
            name="sum",
            number=number,
            digest=digest,
            run_id="run_1",
            dataset_digest=DATASET,
            files=[File(path=f.path, digest=f.digest, size=f.size) for f in files],
        )
        return digest


@dataclass
class Plant:
    """The control plane with its registry and storage, and what a test starts beside it."""

    home: Path
    database_url: str
    unused_port: Callable[[], int]
    models: KnownModels = field(default_factory=KnownModels)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = RpcServer("registry", "127.0.0.1:0")
        self.registry.add(registry_pb2_grpc.add_RegistryServiceServicer_to_server, self.models)
        self.train_address = f"127.0.0.1:{self.registry.start()}"
        self.serve_address = f"127.0.0.1:{self.unused_port()}"
        self.blobs = BlobStore(open_storage(CommonSettings(home=self.home)))
        self.start_control_plane()
        self.peer = Peer(self.serve_address)
        self.stub: Any = self.peer.stub(DeploymentServiceStub)

    def start_control_plane(self) -> None:
        settings = ServeSettings(
            home=self.home,
            database_url=self.database_url,
            serve_address=self.serve_address,
            train_address=self.train_address,
            MODELWRIGHT_SERVE_WATCH_INTERVAL_S=0.2,
        )
        self.control = build_server(settings)
        self.control.start()

    def put(self, ref: str, number: int, *, weight: float, golden_shift: float = 0.0) -> str:
        folder = write_package(self.home / f"package-{number}-{weight}", weight=weight, golden_shift=golden_shift)
        return self.models.put(ref, number, upload_package(folder, self.blobs))

    def start_inference(self, *arguments: str, **environment: str) -> "Inference":
        rest, rpc = self.unused_port(), self.unused_port()
        command = [
            sys.executable,
            "-m",
            "services.serve_svc",
            "inference",
            "--port",
            str(rest),
            "--grpc-port",
            str(rpc),
        ]
        given = {
            "MODELWRIGHT_HOME": str(self.home),
            "MODELWRIGHT_SERVE_ADDRESS": self.serve_address,
            "MODELWRIGHT_INFERENCE_RECONNECT_S": "0.1",
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        process = subprocess.Popen([*command, *arguments], env={**os.environ, **given}, cwd=ROOT)
        self.processes.append(process)
        started = Inference(process, rest, rpc)
        started.wait_for("live")
        return started

    def apply(self, ref: str, name: str = "sum", **options: Any) -> pb.Deployment:
        request = pb.ApplyDeploymentRequest(
            project="default", name=name, model_ref=ref, options_json=json.dumps(options) if options else ""
        )
        found: pb.Deployment = call(self.stub.ApplyDeployment, request).deployment
        return found

    def wait(self, done: Callable[[pb.Deployment], bool], name: str = "sum") -> pb.Deployment:
        """Watch the deployment until `done`; the last state is in the failure."""
        request = pb.WatchDeploymentRequest(project="default", name=name)
        last: pb.Deployment = pb.Deployment()
        for answer in stream(self.stub.WatchDeployment, request, timeout_s=30):
            last = answer.deployment
            if done(last):
                return last
        raise AssertionError(f"never came: {last}")

    def wait_ready(self, name: str = "sum") -> pb.Deployment:
        found = self.wait(lambda d: d.desired.state in (pb.REVISION_STATE_READY, pb.REVISION_STATE_FAILED), name)
        assert found.desired.state == pb.REVISION_STATE_READY, found.desired.error
        return found

    def close(self) -> None:
        self.peer.close()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)
        self.control.stop(1)
        self.registry.stop(1)


@dataclass
class Inference:
    """An inference process."""

    process: subprocess.Popen[bytes]
    rest: int
    rpc: int

    def wait_for(self, health: str) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/v2/health/{health}", timeout=5)
                return
            except OSError:
                assert self.process.poll() is None, "the inference server ended"
                assert time.monotonic() < deadline, "the inference server does not answer"
                time.sleep(0.05)

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest}{path}", body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def predict(self, value: float = 1.0, model: str = "sum") -> dict[str, Any]:
        tensor = {"name": "input", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [value] * 64}
        status, answer = self.post(f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}).encode())
        assert status == 200, answer
        return answer


class Load:
    """Predictions without pause from a few threads, each answer kept."""

    def __init__(self, inference: Inference, threads: int = 3) -> None:
        self.answers: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._inference = inference
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.answers.append(self._inference.predict())
            except Exception as error:  # whatever a client would see
                self.failures.append(repr(error))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def plant(tmp_path: Path, database_url: str, unused_port: Callable[[], int]) -> Iterator[Plant]:
    """The control plane on SQLite and on PostgreSQL."""
    found = Plant(tmp_path, database_url, unused_port)
    yield found
    found.close()


@pytest.fixture
def light_plant(tmp_path: Path, unused_port: Callable[[], int]) -> Iterator[Plant]:
    """The control plane on SQLite, for what does not depend on the database."""
    found = Plant(tmp_path, f"sqlite:///{tmp_path / 'serve.sqlite'}", unused_port)
    yield found
    found.close()


@pytest.fixture
def load() -> type[Load]:
    return Load


@pytest.fixture
def package_writer() -> Callable[..., Path]:
    return write_package


@pytest.fixture(scope="module")
def folder_server(tmp_path_factory: pytest.TempPathFactory, unused_port: Callable[[], int]) -> Iterator[Inference]:
    """A server without a control plane; `sum` is a package, `types` and `brain` are bare graphs of every type."""
    home = tmp_path_factory.mktemp("models")
    write_package(home / "sum", weight=1.0)
    (home / "types" / "3").mkdir(parents=True)
    write_types(home / "types" / "3" / "model.onnx", {k: v for k, v in TYPES.items() if k != "BF16"})
    (home / "brain").mkdir()
    write_types(home / "brain" / "model.onnx", {"BF16": TYPES["BF16"]})
    rest, rpc = unused_port(), unused_port()
    command = [sys.executable, "-m", "services.serve_svc", "inference", "--model-dir", str(home)]
    process = subprocess.Popen(
        [*command, "--port", str(rest), "--grpc-port", str(rpc)],
        env={**os.environ, "MODELWRIGHT_INFERENCE_MAX_BODY_BYTES": "100000", "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )
    started = Inference(process, rest, rpc)
    started.wait_for("ready")
    yield started
    process.terminate()
    assert process.wait(30) == 0


TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}


def write_types(path: Path, types: dict[str, int]) -> None:
    """Write a graph that gives back one input of every type."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in types],
        "types",
        [helper.make_tensor_value_info(f"in_{name}", kind, ["n", 2]) for name, kind in types.items()],
        [helper.make_tensor_value_info(f"out_{name}", kind, ["n", 2]) for name, kind in types.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
