"""A health check for containers: `python -m services.common.rpc.probe HOST:PORT | --worker`."""

import sys
import time
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.rpc.credentials import channel_credentials
from services.common.settings import CommonSettings

TIMEOUT_S = 3.0
WORKER_AGE_S = 60.0


def main(arguments: Sequence[str]) -> int:
    """Return 0 if what was asked for is well; print why not otherwise."""
    settings = CommonSettings()
    fault = _worker_fault(settings) if arguments == ["--worker"] else _server_fault(arguments[0], settings)
    if fault:
        sys.stderr.write(f"{fault}\n")
    return 1 if fault else 0


def _server_fault(address: str, settings: CommonSettings) -> str:
    credentials = channel_credentials(settings.tls)
    channel = grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
    with channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return f"{address} does not answer: {error.code().name}"
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return "" if serving else f"{address} answers that it does not serve"


def _worker_fault(settings: CommonSettings) -> str:
    sign = settings.home / "worker.alive"
    if not sign.exists():
        return f"no worker has written {sign}"
    age = time.time() - sign.stat().st_mtime
    return "" if age < WORKER_AGE_S else f"the worker last wrote {sign} {age:.0f} s ago"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
