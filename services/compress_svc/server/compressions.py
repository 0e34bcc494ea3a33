"""`modelwright.compress.v1.CompressionService`, and what of the storage it still needs."""

import json
from collections.abc import Iterator

import grpc

from proto.gen.modelwright.common.v1 import reference_pb2, reference_pb2_grpc
from proto.gen.modelwright.compress.v1 import compression_pb2 as pb
from proto.gen.modelwright.compress.v1 import compression_pb2_grpc
from services.common.errors import InvalidError
from services.common.jobs.wire import job_to_wire, lease_from_wire, to_timestamp
from services.compress_svc.models import Compression, Variant
from services.compress_svc.service import CompressionService


class CompressionServer(compression_pb2_grpc.CompressionServiceServicer):
    """Translates, nothing else."""

    def __init__(self, service: CompressionService) -> None:
        self._service = service

    def SubmitCompression(
        self, request: pb.SubmitCompressionRequest, context: grpc.ServicerContext
    ) -> pb.SubmitCompressionResponse:
        """Queue a compression."""
        compression, job = self._service.submit(
            project=request.project,
            model_ref=request.model_ref,
            dataset_ref=request.dataset_digest,
            recipe=_json(request.recipe_json, "recipe_json"),
            queue=request.queue,
            idempotency_key=request.idempotency_key,
            validate_only=request.validate_only,
        )
        if compression is None or job is None:
            return pb.SubmitCompressionResponse()
        return pb.SubmitCompressionResponse(compression=_to_wire(compression), job=job_to_wire(job))

    def GetCompression(
        self, request: pb.GetCompressionRequest, context: grpc.ServicerContext
    ) -> pb.GetCompressionResponse:
        """Return a compression."""
        return pb.GetCompressionResponse(compression=_to_wire(self._service.get(request.id)))

    def ListCompressions(
        self, request: pb.ListCompressionsRequest, context: grpc.ServicerContext
    ) -> pb.ListCompressionsResponse:
        """Return a page of compressions."""
        found, token = self._service.page(request.project, request.page_size, request.page_token)
        return pb.ListCompressionsResponse(compressions=[_to_wire(item) for item in found], next_page_token=token)

    def RecordVariant(
        self, request: pb.RecordVariantRequest, context: grpc.ServicerContext
    ) -> pb.RecordVariantResponse:
        """Keep a variant that a worker made."""
        variant = Variant(
            name=request.variant.name,
            digest=request.variant.digest,
            card=_json(request.variant.card_json, "variant.card_json"),
            verdict=request.variant.verdict,
            reason=request.variant.reason,
        )
        lease = lease_from_wire(request.lease)
        return pb.RecordVariantResponse(
            compression=_to_wire(self._service.record(lease, request.compression_id, variant))
        )


class ReferenceServer(reference_pb2_grpc.ReferenceServiceServicer):
    """Names the blobs that queued and running compressions need."""

    def __init__(self, service: CompressionService) -> None:
        self._service = service

    def ListReferences(
        self, request: reference_pb2.ListReferencesRequest, context: grpc.ServicerContext
    ) -> Iterator[reference_pb2.ListReferencesResponse]:
        """Send the digests in groups."""
        for group in self._service.references():
            yield reference_pb2.ListReferencesResponse(digests=group)


def _to_wire(compression: Compression) -> pb.Compression:
    return pb.Compression(
        id=compression.id,
        project=compression.project,
        model_name=compression.model_name,
        parent=compression.parent,
        dataset_digest=compression.dataset_digest,
        recipe_json=json.dumps(compression.recipe),
        variants=[
            pb.Variant(
                name=variant.name,
                digest=variant.digest,
                card_json=json.dumps(variant.card),
                verdict=variant.verdict,
                reason=variant.reason,
            )
            for variant in compression.variants
        ],
        job_id=compression.job_id,
        created_at=to_timestamp(compression.created_at),
    )


def _json(text: str, field: str) -> dict[str, object]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{field} is not JSON: {error}", field=field) from error
    if not isinstance(value, dict):
        raise InvalidError(f"{field} holds {type(value).__name__}, wanted an object", field=field)
    return value
