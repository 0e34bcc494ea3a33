"""The services behind the gateway: one channel each, and their stubs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.settings import GatewaySettings
from proto.gen.modelwright.common.v1.job_pb2_grpc import JobServiceStub
from proto.gen.modelwright.common.v1.reference_pb2_grpc import ReferenceServiceStub
from proto.gen.modelwright.compress.v1.compression_pb2_grpc import CompressionServiceStub
from proto.gen.modelwright.data.v1.dataset_pb2_grpc import DatasetServiceStub
from proto.gen.modelwright.serve.v1.deployment_pb2_grpc import DeploymentServiceStub
from proto.gen.modelwright.train.v1.registry_pb2_grpc import RegistryServiceStub
from proto.gen.modelwright.train.v1.run_pb2_grpc import RunServiceStub
from services.common.rpc import AioPeer

HEALTH_TIMEOUT_S = 2.0
JOB_SERVICES = ("data", "train", "compress")
"""Services that have jobs."""


class Upstream:
    """Stubs of every service; build it inside the running loop."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.peers = {
            "data": AioPeer(settings.data_address, settings.tls),
            "train": AioPeer(settings.train_address, settings.tls),
            "compress": AioPeer(settings.compress_address, settings.tls),
            "serve": AioPeer(settings.serve_address, settings.tls),
        }
        self.data = self.peers["data"].stub(DatasetServiceStub)
        self.runs = self.peers["train"].stub(RunServiceStub)
        self.registry = self.peers["train"].stub(RegistryServiceStub)
        self.compressions = self.peers["compress"].stub(CompressionServiceStub)
        self.deployments = self.peers["serve"].stub(DeploymentServiceStub)
        self.jobs = {name: self.peers[name].stub(JobServiceStub) for name in JOB_SERVICES}
        self.references = {name: peer.stub(ReferenceServiceStub) for name, peer in self.peers.items()}

    async def health(self) -> dict[str, str]:
        """Return for every service why it cannot be used; empty where it can."""
        reasons = await asyncio.gather(*(_reason(peer) for peer in self.peers.values()))
        return dict(zip(self.peers, reasons, strict=True))

    async def close(self) -> None:
        """Give the connections back."""
        await asyncio.gather(*(peer.close() for peer in self.peers.values()))


async def _reason(peer: AioPeer) -> str:
    check: Callable[..., Awaitable[Any]] = peer.stub(health_pb2_grpc.HealthStub).Check
    try:
        answer = await check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_S)
    except grpc.RpcError as error:
        code = error.code().name.lower()
        return f"no answer at {peer.address} ({code}); is the service running there?"
    return "" if answer.status == health_pb2.HealthCheckResponse.SERVING else f"{peer.address} is shutting down"
