"""gRPC adapters of train_svc: they translate, nothing else."""

from services.train_svc.server.references import ReferenceServer
from services.train_svc.server.registry import RegistryServer
from services.train_svc.server.runs import RunServer

__all__ = ["ReferenceServer", "RegistryServer", "RunServer"]
