"""The gRPC adapter: translates, nothing else."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

import grpc
from google.protobuf.json_format import ParseDict

from proto.gen.inference import grpc_service_pb2 as pb
from proto.gen.inference import grpc_service_pb2_grpc as pb_grpc
from proto.gen.inference.model_config_pb2 import ModelConfig
from services.common.errors import ModelwrightError, NotFoundError
from services.common.rpc.status import to_status
from services.serve_svc.engine.catalog import Catalog
from services.serve_svc.inference import description
from services.serve_svc.inference.rpc.codec import decode, encode

log = logging.getLogger("modelwright.serve")
Context = grpc.aio.ServicerContext[Any, Any]
P = ParamSpec("P")
T = TypeVar("T")


def answers(method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Turn domain errors of `method` into statuses."""

    async def call(self: "InferenceServicer", request: Any, context: Context) -> T:  # noqa: ANN401 - any message
        try:
            return await method(self, request, context)
        except ModelwrightError as error:
            code, message, trailer = to_status(error)
        except Exception:
            log.exception("a request failed for a reason of our own")
            code, message, trailer = grpc.StatusCode.INTERNAL, "the server failed on this request; its log says why", ()
        await context.abort(code, message, trailer)

    return call


class InferenceServicer(pb_grpc.GRPCInferenceServiceServicer):
    """Answers the protocol's calls from the catalog.

    Args:
        catalog: the models.
        accepts: whether new work is wanted; false while the server drains.
    """

    def __init__(self, catalog: Catalog, accepts: Callable[[], bool]) -> None:
        self._catalog = catalog
        self._accepts = accepts

    @answers
    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Infer."""
        generation = self._catalog.get(request.model_name, request.model_version)
        return encode(request, generation, await generation.infer(decode(request)))

    @answers
    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """Say that the process answers."""
        return pb.ServerLiveResponse(live=True)

    @answers
    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Say whether every model is loaded."""
        return pb.ServerReadyResponse(ready=self._accepts() and self._catalog.ready)

    @answers
    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """Say whether a model answers."""
        try:
            self._catalog.get(request.name, request.version)
        except NotFoundError:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    @answers
    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        """Describe the server."""
        return pb.ServerMetadataResponse(**description.server_metadata())

    @answers
    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        """Describe a model."""
        generation = self._catalog.get(request.name, request.version)
        return ParseDict(description.model_metadata(self._catalog, generation), pb.ModelMetadataResponse())

    @answers
    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        """Describe how a model is run."""
        generation = self._catalog.get(request.name, request.version)
        return pb.ModelConfigResponse(config=ParseDict(description.model_config(generation), ModelConfig()))

    @answers
    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Context) -> pb.ModelStatisticsResponse:
        """Count what one model or all have done."""
        found = [self._catalog.get(request.name, request.version)] if request.name else list(self._catalog)
        stats = [description.model_statistics(one) for one in found]
        return ParseDict({"model_stats": stats}, pb.ModelStatisticsResponse())

    @answers
    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        """List the models."""
        models = description.repository_index(self._catalog, ready=request.ready)
        return ParseDict({"models": models}, pb.RepositoryIndexResponse())
