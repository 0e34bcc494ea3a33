"""ReferenceService: served models are pinned."""

from collections.abc import Iterator

import grpc

from proto.gen.modelwright.common.v1 import reference_pb2 as pb
from proto.gen.modelwright.common.v1 import reference_pb2_grpc as pb_grpc
from services.serve_svc.service import Deployments


class ReferenceServicer(pb_grpc.ReferenceServiceServicer):
    """Names the blobs of every revision of a living deployment."""

    def __init__(self, deployments: Deployments) -> None:
        self._deployments = deployments

    def ListReferences(
        self, request: pb.ListReferencesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ListReferencesResponse]:
        """Stream digests."""
        for digests in self._deployments.references():
            yield pb.ListReferencesResponse(digests=digests)
