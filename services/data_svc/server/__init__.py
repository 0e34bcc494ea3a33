"""The gRPC adapters of the data service: they translate, nothing else."""

from services.data_svc.server.datasets import DatasetServer
from services.data_svc.server.references import ReferenceServer

__all__ = ["DatasetServer", "ReferenceServer"]
