"""The gRPC port: the protocol, health and reflection."""

from collections.abc import Callable

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from proto.gen.inference import grpc_service_pb2 as pb
from proto.gen.inference import grpc_service_pb2_grpc as pb_grpc
from services.common.errors import UnavailableError
from services.common.rpc.credentials import server_credentials
from services.common.settings import TlsSettings
from services.serve_svc.engine.catalog import Catalog
from services.serve_svc.inference.rpc.servicer import InferenceServicer

FRAME_BYTES = 64 << 10
"""Room for what a message holds beside its tensors."""


class GrpcPort:
    """The server behind the gRPC port.

    Args:
        catalog: the models.
        accepts: whether new work is wanted.
        max_body_bytes: largest message.
    """

    def __init__(self, catalog: Catalog, accepts: Callable[[], bool], *, max_body_bytes: int) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_body_bytes + FRAME_BYTES),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ]
        )
        self._name = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
        self._health = health.aio.HealthServicer()
        pb_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceServicer(catalog, accepts), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (self._name, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=descriptor_pool.Default())

    async def start(self, address: str, tls: TlsSettings) -> int:
        """Bind, serve and return the port.

        Raises:
            UnavailableError: the address cannot be bound.
        """
        credentials = server_credentials(tls)
        try:
            if credentials:
                port = self._server.add_secure_port(address, credentials)
            else:
                port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise UnavailableError(
                f"the inference server cannot listen on {address} (gRPC): another program may hold the port; "
                "stop it or set MODELWRIGHT_INFERENCE_GRPC_PORT"
            ) from error
        await self._server.start()
        return port

    async def show(self, *, ready: bool) -> None:
        """Tell health checks."""
        status = health_pb2.HealthCheckResponse
        for name in ("", self._name):
            await self._health.set(name, status.SERVING if ready else status.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Let running calls finish, then close."""
        await self._server.stop(grace_s)
