"""`modelwright.common.v1.ReferenceService` of the data service."""

from collections.abc import Iterator
from itertools import islice

import grpc

from proto.gen.modelwright.common.v1 import reference_pb2 as pb
from proto.gen.modelwright.common.v1 import reference_pb2_grpc
from services.data_svc.service import VersionService

BATCH = 1000


class ReferenceServer(reference_pb2_grpc.ReferenceServiceServicer):
    """Names the blobs that versions need."""

    def __init__(self, versions: VersionService) -> None:
        self._versions = versions

    def ListReferences(
        self, request: pb.ListReferencesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ListReferencesResponse]:
        """Send the digests of manifests and shards."""
        found = self._versions.references()
        while digests := list(islice(found, BATCH)):
            yield pb.ListReferencesResponse(digests=digests)
