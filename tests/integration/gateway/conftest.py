"""The gateway over real HTTP before real services, and before stand-ins whose jobs end as a test says."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import orjson
import pytest

from gateway.server import GatewayServer
from gateway.settings import GatewaySettings
from proto.gen.modelwright.common.v1 import job_pb2, job_pb2_grpc, reference_pb2, reference_pb2_grpc
from proto.gen.modelwright.compress.v1 import compression_pb2, compression_pb2_grpc
from proto.gen.modelwright.data.v1 import dataset_pb2, dataset_pb2_grpc
from proto.gen.modelwright.serve.v1 import deployment_pb2, deployment_pb2_grpc
from proto.gen.modelwright.train.v1 import registry_pb2, registry_pb2_grpc, run_pb2, run_pb2_grpc
from services.common.digest import digest_json
from services.common.errors import InvalidError, NotFoundError
from services.common.rpc import RpcServer
from services.data_svc import __main__ as data_main
from services.data_svc.settings import DataSettings
from services.train_svc import __main__ as train_main
from services.train_svc.settings import TrainSettings

Context = grpc.ServicerContext
ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


class Jobs(job_pb2_grpc.JobServiceServicer):
    """Jobs in memory: submitted once a key, ended by `outcome` at once or when `release` says so."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.changed = threading.Condition()
        self.by_id: dict[str, job_pb2.Job] = {}
        self.by_key: dict[str, job_pb2.Job] = {}
        self.error = ""
        self.hold = False
        self.watches = 0
        self.lines: list[str] = []

    def submit(self, key: str, result: dict[str, Any]) -> job_pb2.Job:
        with self.changed:
            if key not in self.by_key:
                job = job_pb2.Job(id=f"job_{self.service}{len(self.by_id)}", project="default", kind=self.service)
                job.result_json = orjson.dumps(result).decode()
                job.state = job_pb2.JOB_STATE_RUNNING
                job.created_at.FromNanoseconds(time.time_ns())
                self.by_key[key] = self.by_id[job.id] = job
            if not self.hold:
                self._end(self.by_key[key])
            return self.by_key[key]

    def release(self) -> None:
        with self.changed:
            self.hold = False
            for job in self.by_id.values():
                self._end(job)

    def _end(self, job: job_pb2.Job) -> None:
        if job.state in ENDED:
            return
        job.state = job_pb2.JOB_STATE_FAILED if self.error else job_pb2.JOB_STATE_SUCCEEDED
        job.error = self.error
        self.changed.notify_all()

    def GetJob(self, request: job_pb2.GetJobRequest, context: Context) -> job_pb2.GetJobResponse:
        if request.id not in self.by_id:
            raise NotFoundError(f"no job {request.id}")
        return job_pb2.GetJobResponse(job=self.by_id[request.id])

    def ListJobs(self, request: job_pb2.ListJobsRequest, context: Context) -> job_pb2.ListJobsResponse:
        jobs = sorted(self.by_id.values(), key=lambda job: job.created_at.ToNanoseconds(), reverse=True)
        start = int(request.page_token or 0)
        end = start + request.page_size
        return job_pb2.ListJobsResponse(jobs=jobs[start:end], next_page_token=str(end) if end < len(jobs) else "")

    def WatchJob(self, request: job_pb2.WatchJobRequest, context: Context) -> Iterator[job_pb2.WatchJobResponse]:
        job = self.by_id[request.id]
        self.watches += 1
        while context.is_active():
            told = job_pb2.WatchJobResponse(job=job)
            yield told
            if told.job.state in ENDED:
                return
            with self.changed:
                self.changed.wait(0.05)

    def CancelJob(self, request: job_pb2.CancelJobRequest, context: Context) -> job_pb2.CancelJobResponse:
        with self.changed:
            self.by_id[request.id].state = job_pb2.JOB_STATE_CANCELLED
            self.changed.notify_all()
        return job_pb2.CancelJobResponse(job=self.by_id[request.id])

    def ReadLog(self, request: job_pb2.ReadLogRequest, context: Context) -> Iterator[job_pb2.ReadLogResponse]:
        seen = request.after_seq
        while context.is_active():
            with self.changed:
                fresh = self.lines[seen:]
                if not fresh and request.follow and self.by_id[request.id].state not in ENDED:
                    self.changed.wait(0.2)
                    continue
            lines = [job_pb2.LogLine(seq=seen + n, stream="stdout", text=text) for n, text in enumerate(fresh, 1)]
            seen += len(lines)
            yield job_pb2.ReadLogResponse(lines=lines)
            if not request.follow or (not lines and self.by_id[request.id].state in ENDED):
                return

    def write(self, *texts: str) -> None:
        with self.changed:
            self.lines += texts
            self.changed.notify_all()

    def ListWorkers(self, request: job_pb2.ListWorkersRequest, context: Context) -> job_pb2.ListWorkersResponse:
        return job_pb2.ListWorkersResponse(workers=[job_pb2.Worker(name="w1", queues=["cpu"], slots=1)])


class References(reference_pb2_grpc.ReferenceServiceServicer):
    def __init__(self) -> None:
        self.digests: list[str] = []

    def ListReferences(
        self, request: reference_pb2.ListReferencesRequest, context: Context
    ) -> Iterator[reference_pb2.ListReferencesResponse]:
        yield reference_pb2.ListReferencesResponse(digests=self.digests)


class Data(dataset_pb2_grpc.DatasetServiceServicer):
    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self.versions: dict[str, dataset_pb2.DatasetVersion] = {}

    def CommitDataset(
        self, request: dataset_pb2.CommitDatasetRequest, context: Context
    ) -> dataset_pb2.CommitDatasetResponse:
        if sum(request.split.fractions.values()) > 1.001:
            raise InvalidError("the fractions add up to more than 1", field="split.fractions")
        if request.validate_only:
            return dataset_pb2.CommitDatasetResponse()
        digest = digest_json([request.name, list(request.upload_ids)])
        version = dataset_pb2.DatasetVersion(project=request.project, name=request.name, number=1, digest=digest)
        self.versions[digest] = version
        return dataset_pb2.CommitDatasetResponse(job=self.jobs.submit(request.idempotency_key, {"digest": digest}))

    def GetVersion(self, request: dataset_pb2.GetVersionRequest, context: Context) -> dataset_pb2.GetVersionResponse:
        if request.ref not in self.versions:
            raise NotFoundError(f"no dataset {request.ref}")
        return dataset_pb2.GetVersionResponse(version=self.versions[request.ref])

    def GetUpload(self, request: dataset_pb2.GetUploadRequest, context: Context) -> dataset_pb2.GetUploadResponse:
        raise NotFoundError(f"no upload {request.id}")


class Registry(registry_pb2_grpc.RegistryServiceServicer):
    def __init__(self) -> None:
        self.versions: dict[str, registry_pb2.ModelVersion] = {}
        self.moves: list[tuple[str, str, str]] = []

    def add(self, variant: str, digest: str) -> None:
        number = len(self.versions) + 1
        version = registry_pb2.ModelVersion(
            project="default", name="digits", number=number, digest=digest, variant=variant
        )
        self.versions.setdefault(digest, version)

    def GetModelVersion(
        self, request: registry_pb2.GetModelVersionRequest, context: Context
    ) -> registry_pb2.GetModelVersionResponse:
        if request.ref not in self.versions:
            raise NotFoundError(f"no version {request.ref}")
        return registry_pb2.GetModelVersionResponse(version=self.versions[request.ref])

    def SetAlias(self, request: registry_pb2.SetAliasRequest, context: Context) -> registry_pb2.SetAliasResponse:
        self.moves.append((request.alias, request.actor, request.reason))
        for version in self.versions.values():
            del version.aliases[:]
        self.versions[request.digest].aliases.append(request.alias)
        return registry_pb2.SetAliasResponse()


class Runs(run_pb2_grpc.RunServiceServicer):
    def __init__(self, jobs: Jobs, registry: Registry) -> None:
        self.jobs, self.registry = jobs, registry

    def SubmitTraining(
        self, request: run_pb2.SubmitTrainingRequest, context: Context
    ) -> run_pb2.SubmitTrainingResponse:
        if not isinstance(orjson.loads(request.spec_json).get("epochs", 1), int):
            raise InvalidError("epochs must be a whole number", field="epochs")
        if request.validate_only:
            return run_pb2.SubmitTrainingResponse()
        digest = digest_json(["trained", request.spec_json])
        self.registry.add("trained", digest)
        result = {"model_digest": digest, "run_id": "run_1", "metrics": {"accuracy": {"value": 0.99}}}
        return run_pb2.SubmitTrainingResponse(job=self.jobs.submit(request.idempotency_key, result))


class Compressions(compression_pb2_grpc.CompressionServiceServicer):
    def __init__(self, jobs: Jobs, registry: Registry) -> None:
        self.jobs, self.registry = jobs, registry
        self.recipes: list[dict[str, Any]] = []

    def SubmitCompression(
        self, request: compression_pb2.SubmitCompressionRequest, context: Context
    ) -> compression_pb2.SubmitCompressionResponse:
        recipe = orjson.loads(request.recipe_json)
        if request.validate_only:
            return compression_pb2.SubmitCompressionResponse()
        self.recipes.append(recipe)
        variants = []
        for number, one in enumerate(recipe["variants"]):
            digest = digest_json([request.model_ref, one])
            self.registry.add(one["name"], digest)
            card = {
                "metrics": {"accuracy": {"value": 0.99 - number / 1000}},
                "accuracy_drop": {"value": number / 1000},
                "size_bytes": 1000 // (number + 1),
                "latency": [{"batch": 1, "p50_ms": 3.0 - number, "p99_ms": 4.0}],
            }
            variants.append({"name": one["name"], "digest": digest, "verdict": "pays", "card": card})
        job = self.jobs.submit(request.idempotency_key, {"variants": variants})
        return compression_pb2.SubmitCompressionResponse(job=job)


class Deployments(deployment_pb2_grpc.DeploymentServiceServicer):
    def __init__(self) -> None:
        self.by_name: dict[str, deployment_pb2.Deployment] = {}
        self.applied: list[str] = []
        self.error = ""

    def ApplyDeployment(
        self, request: deployment_pb2.ApplyDeploymentRequest, context: Context
    ) -> deployment_pb2.ApplyDeploymentResponse:
        if request.validate_only:
            return deployment_pb2.ApplyDeploymentResponse()
        self.applied.append(request.model_ref)
        revision = deployment_pb2.Revision(
            id=f"rev_{len(self.applied)}", number=len(self.applied), model_digest=request.model_ref, error=self.error
        )
        revision.state = deployment_pb2.REVISION_STATE_FAILED if self.error else deployment_pb2.REVISION_STATE_READY
        found = deployment_pb2.Deployment(project=request.project, name=request.name, desired=revision)
        if not self.error:
            found.active.CopyFrom(revision)
        self.by_name[request.name] = found
        return deployment_pb2.ApplyDeploymentResponse(deployment=found)

    def GetDeployment(
        self, request: deployment_pb2.GetDeploymentRequest, context: Context
    ) -> deployment_pb2.GetDeploymentResponse:
        if request.name not in self.by_name:
            raise NotFoundError(f"no deployment {request.name}")
        return deployment_pb2.GetDeploymentResponse(deployment=self.by_name[request.name])

    def WatchDeployment(
        self, request: deployment_pb2.WatchDeploymentRequest, context: Context
    ) -> Iterator[deployment_pb2.WatchDeploymentResponse]:
        yield deployment_pb2.WatchDeploymentResponse(deployment=self.by_name[request.name])
        while context.is_active():
            time.sleep(0.02)


class Site:
    """The gateway and what stands behind it."""

    def __init__(self, home: Path) -> None:
        kinds: dict[str, Any] = {name: Jobs for name in ("data", "train", "compress")}
        self.jobs: dict[str, Any] = {name: kind(name) for name, kind in kinds.items()}
        registry: Any = Registry
        self.registry = registry()
        stand_ins: Any = (Data, Runs, Compressions, Deployments)  # The stubs call unimplemented methods abstract.
        data, runs, compressions, deployments = stand_ins
        self.data = data(self.jobs["data"])
        self.runs = runs(self.jobs["train"], self.registry)
        self.compressions = compressions(self.jobs["compress"], self.registry)
        self.deployments = deployments()
        references: Any = References
        self.references = {name: references() for name in ("data", "train", "compress", "serve")}
        self.servers = self._start()
        addresses: dict[str, Any] = {f"{name}_address": server.address for name, server in self.servers.items()}
        self.settings = GatewaySettings(home=home, gateway_port=0, heartbeat_s=0.3, gc_grace_s=0, **addresses)
        self.gateway = GatewayServer(self.settings)
        self.gateway.start()

    def mounts(self, name: str) -> list[tuple[Any, Any]]:
        """Return what a service's server answers."""
        own: dict[str, list[tuple[Any, Any]]] = {
            "data": [(dataset_pb2_grpc.add_DatasetServiceServicer_to_server, self.data)],
            "train": [
                (run_pb2_grpc.add_RunServiceServicer_to_server, self.runs),
                (registry_pb2_grpc.add_RegistryServiceServicer_to_server, self.registry),
            ],
            "compress": [(compression_pb2_grpc.add_CompressionServiceServicer_to_server, self.compressions)],
            "serve": [(deployment_pb2_grpc.add_DeploymentServiceServicer_to_server, self.deployments)],
        }
        jobs = [(job_pb2_grpc.add_JobServiceServicer_to_server, self.jobs[name])] if name in self.jobs else []
        references = (reference_pb2_grpc.add_ReferenceServiceServicer_to_server, self.references[name])
        return [*own[name], *jobs, references]

    def _start(self) -> dict[str, RpcServer]:
        servers = {}
        for name in ("data", "train", "compress", "serve"):
            server = RpcServer(name, "127.0.0.1:0", threads=16)
            for adder, servicer in self.mounts(name):
                server.add(adder, servicer)
            server.start()
            servers[name] = server
        return servers

    def restart_gateway(self) -> None:
        """Stop the gateway as a rollout does and start another on the same state."""
        self.gateway.stop(1)
        self.gateway = GatewayServer(self.settings)
        self.gateway.start()

    def stop(self) -> None:
        self.gateway.stop(1)
        for server in self.servers.values():
            server.stop(0)

    def call(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Send a request below the project."""
        url = path if path.startswith("/") else f"/api/v1/projects/default/{path}"
        return httpx.request(method, self.gateway.url + url, timeout=30, **kwargs)

    def apply(self, text: str) -> dict[str, Any]:
        """Apply a document and return the lifecycle."""
        response = self.call("POST", "lifecycles", content=text, headers={"Content-Type": "application/yaml"})
        assert response.status_code == 202, response.text
        found: dict[str, Any] = response.json()
        return found

    def ended(self, lifecycle_id: str) -> dict[str, Any]:
        """Return the lifecycle once it has ended."""
        return self.until(lifecycle_id, lambda found: found["state"] != "running")

    def until(self, lifecycle_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the lifecycle once `holds` does."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found: dict[str, Any] = self.call("GET", f"lifecycles/{lifecycle_id}").json()
            if holds(found):
                return found
            time.sleep(0.02)
        raise TimeoutError(f"lifecycle {lifecycle_id} stands at {found}")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The gateway before stand-ins."""
    found = Site(tmp_path)
    yield found
    found.stop()


class SilentBell:
    def ring(self, job_id: str, queue: str) -> None:
        """Nobody is woken: there are no workers here."""


class ProjectClient(httpx.Client):
    """A client whose paths stand below the project, unless they begin with a slash."""

    def request(self, method: str, url: Any, **kwargs: Any) -> httpx.Response:
        return super().request(method, url if url.startswith("/") else f"/api/v1/projects/default/{url}", **kwargs)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, unused_port: Callable[[], int]) -> Iterator[httpx.Client]:
    """A client of the gateway before the real data_svc and train_svc."""
    home = tmp_path_factory.mktemp("home")
    data = data_main.build_server(DataSettings(home=home, data_address="127.0.0.1:0"), SilentBell())
    train = train_main.build_server(TrainSettings(home=home, train_address="127.0.0.1:0"), SilentBell())
    for server in (data, train):
        server.start()
    absent = f"127.0.0.1:{unused_port()}"
    settings = GatewaySettings(
        home=home,
        gateway_port=0,
        data_address=data.address,
        train_address=train.address,
        compress_address=absent,
        serve_address=absent,
        heartbeat_s=0.3,
    )
    front = GatewayServer(settings)
    front.start()
    with ProjectClient(base_url=front.url, timeout=30) as client:
        yield client
    front.stop(1)
    for server in (train, data):
        server.stop(0)
