"""gRPC as every service speaks it: servers, peers, errors and request ids."""

from services.common.rpc.peer import AioPeer, Peer, acall, astream, call, stream
from services.common.rpc.server import RpcServer

__all__ = ["AioPeer", "Peer", "RpcServer", "acall", "astream", "call", "stream"]
