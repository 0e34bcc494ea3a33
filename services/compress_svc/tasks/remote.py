"""What the work asks of and tells to other services."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from proto.gen.modelwright.common.v1 import file_pb2
from proto.gen.modelwright.common.v1.job_pb2 import Lease as LeaseMessage
from proto.gen.modelwright.compress.v1 import compression_pb2
from proto.gen.modelwright.compress.v1.compression_pb2_grpc import CompressionServiceStub
from proto.gen.modelwright.data.v1 import dataset_pb2
from proto.gen.modelwright.data.v1.dataset_pb2_grpc import DatasetServiceStub
from proto.gen.modelwright.train.v1 import registry_pb2
from proto.gen.modelwright.train.v1.registry_pb2_grpc import RegistryServiceStub
from services.common.packages import PackageFile
from services.common.rpc import Peer, call
from services.compress_svc.models import Variant

Version = registry_pb2.ModelVersion


@dataclass(frozen=True, kw_only=True)
class Made:
    """A variant with its files in the storage, or why there is none."""

    name: str
    digest: str = ""
    """Of the package; empty if it failed."""
    card: dict[str, Any] = field(default_factory=dict)
    verdict: str = "failed"
    reason: str = ""
    files: tuple[PackageFile, ...] = ()
    signature_json: str = ""


class RemoteRegistry:
    """The model registry of train_svc."""

    def __init__(self, peer: Peer, project: str) -> None:
        self._stub: RegistryServiceStub = peer.stub(RegistryServiceStub)
        self._project = project

    def version(self, ref: str) -> Version:
        """Return a version, or raise NotFoundError."""
        request = registry_pb2.GetModelVersionRequest(project=self._project, ref=ref)
        found: Version = call(self._stub.GetModelVersion, request).version
        return found

    def register(self, parent: Version, made: Made) -> str:
        """Make a child version known and return its digest; the same package again is the same version."""
        version = registry_pb2.ModelVersion(
            project=self._project,
            name=parent.name,
            digest=made.digest,
            parent=parent.digest,
            run_id=parent.run_id,
            dataset_digest=parent.dataset_digest,
            variant=made.name,
            files=[file_pb2.File(path=file.path, digest=file.digest, size=file.size) for file in made.files],
            card_json=json.dumps(made.card),
            signature_json=made.signature_json,
        )
        # No lease: the job is compress_svc's, and train_svc knows only its own.
        request = registry_pb2.CreateModelVersionRequest(version=version)
        return str(call(self._stub.CreateModelVersion, request).version.digest)

    def children(self, parent: Version, compression_id: str) -> Iterator[Made]:
        """Yield the children that this compression has registered."""
        token = ""
        while True:
            request = registry_pb2.ListModelVersionsRequest(
                project=self._project, name=parent.name, page_size=200, page_token=token
            )
            answer = call(self._stub.ListModelVersions, request)
            for found in answer.versions:
                card = json.loads(found.card_json or "{}")
                if found.parent == parent.digest and card.get("recipe", {}).get("compression") == compression_id:
                    yield _registered(found, card)
            token = answer.next_page_token
            if not token:
                return


class RemoteCompression:
    """One compression, written under the job's lease."""

    def __init__(self, peer: Peer, compression_id: str, lease: LeaseMessage) -> None:
        self._stub: CompressionServiceStub = peer.stub(CompressionServiceStub)
        self.compression_id = compression_id
        self._lease = lease

    def variants(self) -> list[Variant]:
        """Return what is recorded, in the recipe's order."""
        request = compression_pb2.GetCompressionRequest(id=self.compression_id)
        found = call(self._stub.GetCompression, request).compression
        order = [item["name"] for item in json.loads(found.recipe_json)["variants"]]
        variants = [
            Variant(
                name=item.name,
                digest=item.digest,
                card=json.loads(item.card_json or "{}"),
                verdict=item.verdict,
                reason=item.reason,
            )
            for item in found.variants
        ]
        return sorted(variants, key=lambda variant: order.index(variant.name))

    def record(self, made: Made) -> None:
        """Record a variant; one recorded before stays.

        Raises:
            StaleLeaseError: another worker has the job.
        """
        variant = compression_pb2.Variant(
            name=made.name,
            digest=made.digest,
            card_json=json.dumps(made.card),
            verdict=made.verdict,
            reason=made.reason,
        )
        request = compression_pb2.RecordVariantRequest(
            lease=self._lease, compression_id=self.compression_id, variant=variant
        )
        call(self._stub.RecordVariant, request)


def manifest_digest(peer: Peer, project: str, ref: str) -> str:
    """Return the digest of a dataset version's manifest, or raise NotFoundError."""
    request = dataset_pb2.GetVersionRequest(project=project, ref=ref)
    return str(call(peer.stub(DatasetServiceStub).GetVersion, request).version.digest)


def _registered(found: Version, card: dict[str, Any]) -> Made:
    verdict = card.get("verdict") or {}
    return Made(
        name=found.variant,
        digest=found.digest,
        card=card,
        verdict="pays" if verdict.get("pays") else "does not pay",
        reason=str(verdict.get("reason", "")),
    )
