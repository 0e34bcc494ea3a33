"""The gRPC adapters of compress_svc."""

from services.compress_svc.server.compressions import CompressionServer, ReferenceServer
from services.compress_svc.server.sources import RemoteSources

__all__ = ["CompressionServer", "ReferenceServer", "RemoteSources"]
