"""Use cases of deployments and of the servers that carry them."""

from services.serve_svc.service.deployments import Deployments, Registry
from services.serve_svc.service.servers import Servers

__all__ = ["Deployments", "Registry", "Servers"]
