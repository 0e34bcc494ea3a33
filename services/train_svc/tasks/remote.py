"""The engine's ports over gRPC and the shared storage."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from proto.gen.modelwright.common.v1 import file_pb2
from proto.gen.modelwright.common.v1.job_pb2 import Lease as LeaseMessage
from proto.gen.modelwright.data.v1 import dataset_pb2
from proto.gen.modelwright.data.v1.dataset_pb2_grpc import DatasetServiceStub
from proto.gen.modelwright.train.v1 import registry_pb2, run_pb2
from proto.gen.modelwright.train.v1.registry_pb2_grpc import RegistryServiceStub
from proto.gen.modelwright.train.v1.run_pb2_grpc import RunServiceStub
from services.common.errors import InvalidError, NotFoundError
from services.common.packages import package_digest, upload_package
from services.common.rpc import Peer, call
from services.common.storage import BlobStore, CorruptError
from services.train_svc.engine.checkpointing import FormatError, read_checkpoint
from services.train_svc.tasks.outbox import Stamped

LOG = logging.getLogger("modelwright.train")


class RemoteDatasets:
    """Dataset versions of data_svc."""

    def __init__(self, peer: Peer) -> None:
        self._stub = peer.stub(DatasetServiceStub)

    def manifest_digest(self, project: str, ref: str) -> str:
        """Return the digest of a version's manifest.

        Raises:
            NotFoundError: there is no such version.
        """
        request = dataset_pb2.GetVersionRequest(project=project, ref=ref)
        return str(call(self._stub.GetVersion, request).version.digest)


class RemoteRun:
    """One run of train_svc, written under a lease. A CheckpointSink."""

    def __init__(self, peer: Peer, blobs: BlobStore, run_id: str, lease: LeaseMessage) -> None:
        self._stub = peer.stub(RunServiceStub)
        self._blobs = blobs
        self._run_id = run_id
        self._lease = lease

    def send_points(self, batch: Sequence[Stamped]) -> None:
        """Write metric points; see `MetricOutbox`."""
        points = [run_pb2.MetricPoint(**point) for point in batch]
        self._write(run_pb2.RunEntry(run_id=self._run_id, points=points))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Write tags of the run."""
        self._write(run_pb2.RunEntry(run_id=self._run_id, tags=tags))

    def save(self, folder: Path, step: int) -> None:
        """Keep a checkpoint's files as blobs, then make it known."""
        files = store_files(self._blobs, folder)
        checkpoint = run_pb2.Checkpoint(run_id=self._run_id, step=step, files=files)
        call(self._stub.RecordCheckpoint, run_pb2.RecordCheckpointRequest(lease=self._lease, checkpoint=checkpoint))

    def newest_checkpoint(self, folder: Path) -> Path | None:
        """Return the newest checkpoint that is whole, fetched into `folder`; None if the run has none."""
        answer = call(self._stub.ListCheckpoints, run_pb2.ListCheckpointsRequest(run_id=self._run_id))
        for checkpoint in answer.checkpoints:
            target = folder / f"step-{checkpoint.step}"
            target.mkdir(parents=True)
            try:
                for file in checkpoint.files:
                    self._blobs.fetch(file.digest, target / file.path)
                read_checkpoint(target)
            except FormatError:
                # Passing over it would begin the run anew unasked.
                raise
            except (NotFoundError, CorruptError, InvalidError) as error:
                LOG.warning("the checkpoint of step %d is passed over: %s", checkpoint.step, error)
            else:
                return target
        return None

    def _write(self, entry: run_pb2.RunEntry) -> None:
        answer = call(self._stub.LogBatch, run_pb2.LogBatchRequest(entries=[entry], lease=self._lease))
        if refused := answer.refused_runs.get(self._run_id):
            raise NotFoundError(f"run {self._run_id} takes no more writes: {refused}")


class RemoteRegistry:
    """The model registry of train_svc."""

    def __init__(self, peer: Peer, blobs: BlobStore, lease: LeaseMessage) -> None:
        self._stub = peer.stub(RegistryServiceStub)
        self._blobs = blobs
        self._lease = lease

    def register(self, package: Path, *, project: str, name: str, run_id: str, dataset_digest: str) -> str:
        """Keep the package's files and register them as a version; return its digest."""
        files = upload_package(package, self._blobs)
        version = registry_pb2.ModelVersion(
            project=project,
            name=name,
            digest=package_digest(files),
            run_id=run_id,
            dataset_digest=dataset_digest,
            variant="trained",
            files=[file_pb2.File(path=file.path, digest=file.digest, size=file.size) for file in files],
            card_json=json.dumps(json.loads((package / "card.json").read_bytes())),
            signature_json=json.dumps(json.loads((package / "signature.json").read_bytes())),
        )
        request = registry_pb2.CreateModelVersionRequest(lease=self._lease, version=version)
        return str(call(self._stub.CreateModelVersion, request).version.digest)


def store_files(blobs: BlobStore, folder: Path) -> list[file_pb2.File]:
    """Keep every file of a folder as a blob and return them, by path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        file_pb2.File(path=path.relative_to(folder).as_posix(), digest=blobs.put_file(path), size=path.stat().st_size)
        for path in paths
    ]
