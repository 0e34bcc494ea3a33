"""train_svc's registry, over gRPC."""

from proto.gen.modelwright.train.v1.registry_pb2 import GetModelVersionRequest
from proto.gen.modelwright.train.v1.registry_pb2_grpc import RegistryServiceStub
from services.common.rpc import Peer, call
from services.serve_svc.engine.deployment import ModelVersion, PackageFile


class GrpcRegistry:
    """Resolves references there."""

    def __init__(self, peer: Peer) -> None:
        self._stub = peer.stub(RegistryServiceStub)

    def resolve(self, project: str, ref: str) -> ModelVersion:
        """Return the version that `ref` names now.

        Raises:
            NotFoundError: none does.
            UnavailableError: train_svc is away.
        """
        request = GetModelVersionRequest(project=project, ref=ref)
        found = call(self._stub.GetModelVersion, request).version
        return ModelVersion(
            name=found.name,
            number=found.number,
            digest=found.digest,
            run_id=found.run_id,
            dataset_digest=found.dataset_digest,
            files=tuple(PackageFile(path=file.path, digest=file.digest, size=file.size) for file in found.files),
        )
