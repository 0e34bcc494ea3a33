"""The gRPC adapter of the control plane: translates, nothing else."""

from services.serve_svc.server.deployments import DeploymentServicer
from services.serve_svc.server.references import ReferenceServicer
from services.serve_svc.server.registry import GrpcRegistry

__all__ = ["DeploymentServicer", "GrpcRegistry", "ReferenceServicer"]
