"""`modelwright.common.v1.ReferenceService`, as far as train_svc goes."""

from collections.abc import Iterator

import grpc

from proto.gen.modelwright.common.v1 import reference_pb2 as pb
from proto.gen.modelwright.common.v1 import reference_pb2_grpc
from services.train_svc.service import FileService


class ReferenceServer(reference_pb2_grpc.ReferenceServiceServicer):
    """Names the blobs that runs and models need."""

    def __init__(self, files: FileService) -> None:
        self._files = files

    def ListReferences(
        self, request: pb.ListReferencesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.ListReferencesResponse]:
        """Send the digests in groups."""
        for group in self._files.references():
            yield pb.ListReferencesResponse(digests=group)
