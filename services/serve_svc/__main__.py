"""Run the control plane (`server`, the default) or the inference server (`inference`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.common.rpc import RpcServer
    from services.serve_svc.settings import ServeSettings

# Each part imports its own libraries alone: the inference server no database, the control plane no runtime.


def build_server(settings: ServeSettings | None = None) -> RpcServer:
    """Compose the control plane: its database migrated, its services mounted, nothing started."""
    from proto.gen.modelwright.common.v1.reference_pb2_grpc import (  # noqa: PLC0415
        add_ReferenceServiceServicer_to_server,
    )
    from proto.gen.modelwright.serve.v1.deployment_pb2_grpc import (  # noqa: PLC0415
        add_DeploymentServiceServicer_to_server,
    )
    from services.common.db import Database  # noqa: PLC0415
    from services.common.rpc import Peer, RpcServer  # noqa: PLC0415
    from services.common.signals import Signal  # noqa: PLC0415
    from services.serve_svc.models import METADATA, SCHEMA  # noqa: PLC0415
    from services.serve_svc.server import DeploymentServicer, GrpcRegistry, ReferenceServicer  # noqa: PLC0415
    from services.serve_svc.service import Deployments, Servers  # noqa: PLC0415
    from services.serve_svc.settings import ServeSettings  # noqa: PLC0415

    settings = settings or ServeSettings()
    database = Database(settings.database_url_of(SCHEMA), SCHEMA, METADATA)
    database.migrate("services.serve_svc.migrations")
    peer = Peer(settings.train_address, settings.tls)
    signal = Signal()
    interval_s = settings.watch_interval_s
    deployments = Deployments(database, GrpcRegistry(peer), signal, watch_interval_s=interval_s)
    servers = Servers(database, signal, timeout_s=settings.server_timeout_s, watch_interval_s=interval_s)
    rpc = RpcServer(SCHEMA, settings.listen_address("serve"), tls=settings.tls, threads=settings.rpc_threads)
    servicer = DeploymentServicer(deployments, servers, signal, rpc.stopping.is_set)
    rpc.add(add_DeploymentServiceServicer_to_server, servicer)
    rpc.add(add_ReferenceServiceServicer_to_server, ReferenceServicer(deployments))
    rpc.on_stop(database.close)
    rpc.on_stop(peer.close)
    return rpc


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the part that the first argument names; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["inference"]:
        from services.serve_svc.inference.command import run  # noqa: PLC0415

        return run(given[1:], program="python -m services.serve_svc inference")
    from services.common.runtime import run_service  # noqa: PLC0415
    from services.serve_svc.settings import ServeSettings  # noqa: PLC0415

    settings = ServeSettings()
    return run_service("serve_svc", settings, lambda: build_server(settings), arguments=given)


if __name__ == "__main__":
    sys.exit(main())
