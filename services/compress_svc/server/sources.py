"""Models and datasets, asked of train_svc and data_svc."""

import json

from proto.gen.modelwright.data.v1 import dataset_pb2
from proto.gen.modelwright.data.v1.dataset_pb2_grpc import DatasetServiceStub
from proto.gen.modelwright.train.v1 import registry_pb2
from proto.gen.modelwright.train.v1.registry_pb2_grpc import RegistryServiceStub
from services.common.rpc import Peer, call
from services.compress_svc.models import DatasetRef, ModelRef


class RemoteSources:
    """`service.Sources` over gRPC."""

    def __init__(self, train: Peer, data: Peer) -> None:
        self._registry: RegistryServiceStub = train.stub(RegistryServiceStub)
        self._datasets: DatasetServiceStub = data.stub(DatasetServiceStub)

    def model(self, project: str, ref: str) -> ModelRef:
        """Return the version that a reference names, or raise NotFoundError."""
        request = registry_pb2.GetModelVersionRequest(project=project, ref=ref)
        found = call(self._registry.GetModelVersion, request).version
        return ModelRef(name=found.name, digest=found.digest, files=tuple(file.digest for file in found.files))

    def dataset(self, project: str, ref: str) -> DatasetRef:
        """Return the version that a reference names, or raise NotFoundError."""
        request = dataset_pb2.GetVersionRequest(project=project, ref=ref)
        found = call(self._datasets.GetVersion, request).version
        splits = json.loads(found.schema_json or "{}").get("splits") or {}
        return DatasetRef(
            digest=found.digest,
            files=tuple(file.digest for file in found.files),
            splits=tuple(name for name, samples in splits.items() if samples),
        )
