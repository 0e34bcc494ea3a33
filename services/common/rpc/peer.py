"""Clients of other services: deadlines, request ids, retries where safe, domain errors."""

import json
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from services.common.ids import new_id
from services.common.logs import REQUEST_ID
from services.common.rpc.credentials import channel_credentials
from services.common.rpc.interceptor import REQUEST_ID_KEY
from services.common.rpc.server import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES
from services.common.rpc.status import from_status
from services.common.settings import TlsSettings

S = TypeVar("S")

DEADLINE_S = 30.0
INTERACTIVE_DEADLINE_S = 10.0
"""Of calls from asyncio: somebody looks at a screen."""

SERVICES = {
    "modelwright.common.v1.JobService": [
        "GetJob",
        "ListJobs",
        "CancelJob",
        "PreemptJob",
        "RenewLease",
        "FinishJob",
        "ReleaseJob",
        "ReportWorker",
        "ListWorkers",
        "WatchJob",
        "ReadLog",
    ],
    "modelwright.common.v1.ReferenceService": ["ListReferences"],
    "modelwright.data.v1.DatasetService": [],
    "modelwright.train.v1.RunService": [],
    "modelwright.train.v1.RegistryService": [],
    "modelwright.compress.v1.CompressionService": [],
    "modelwright.serve.v1.DeploymentService": [],
}
"""Services whose calls are retried, and where not all may be: which. A repeated call of any of these does no
harm: reads, writes that are idempotent by key, digest or (run, key, step), and submissions, which carry an
idempotency key. ClaimJob is left out: a second claim would take a second job."""

RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

OPTIONS = [
    (
        "grpc.service_config",
        json.dumps(
            {
                "methodConfig": [
                    {
                        "name": [
                            entry
                            for service, methods in SERVICES.items()
                            for entry in (
                                [{"service": service, "method": method} for method in methods] or [{"service": service}]
                            )
                        ],
                        "retryPolicy": RETRY,
                    }
                ]
            }
        ),
    ),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    # A restarted service is found again within a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30000),
    # Peers in one process have one settings object each, and must not share its subchannels.
    ("grpc.use_local_subchannel_pool", 1),
]


class Peer:
    """A channel to one service at `host:port`."""

    def __init__(self, address: str, tls: TlsSettings | None = None) -> None:
        self.address = address
        credentials = channel_credentials(tls or TlsSettings())
        self.channel = (
            grpc.secure_channel(address, credentials, OPTIONS)
            if credentials
            else grpc.insecure_channel(address, OPTIONS)
        )

    def stub(self, kind: Callable[[Any], S]) -> S:
        """Return a generated stub on this channel."""
        return kind(self.channel)

    def close(self) -> None:
        """Give the connection back."""
        self.channel.close()


class AioPeer:
    """The same for asyncio; build it inside the running loop."""

    def __init__(self, address: str, tls: TlsSettings | None = None) -> None:
        self.address = address
        credentials = channel_credentials(tls or TlsSettings())
        self.channel = (
            grpc.aio.secure_channel(address, credentials, OPTIONS)
            if credentials
            else grpc.aio.insecure_channel(address, OPTIONS)
        )

    def stub(self, kind: Callable[[Any], S]) -> S:
        """Return a generated stub on this channel."""
        return kind(self.channel)

    async def close(self) -> None:
        """Give the connection back."""
        await self.channel.close()


def call(method: Any, request: Message, *, timeout_s: float = DEADLINE_S, wait: bool = True) -> Any:  # noqa: ANN401
    """Call a unary method (or a client stream) and return its answer; `Any` as generated stubs are typed by it.

    Args:
        method: a method of a generated stub.
        request: its message.
        timeout_s: the deadline.
        wait: wait within the deadline for a service that is just restarting, instead of failing at once.

    Raises:
        ModelwrightError: the error that the service raised, or UnavailableError.
    """
    try:
        return method(request, timeout=timeout_s, metadata=_metadata(), wait_for_ready=wait)
    except grpc.RpcError as error:
        raise from_status(error, _name(method)) from error


def stream(method: Any, request: Message, *, timeout_s: float | None = None) -> Generator[Any, None, None]:  # noqa: ANN401
    """Call a server-streaming method and yield its answers; closing the iterator cancels the call."""
    answers = method(request, timeout=timeout_s, metadata=_metadata(), wait_for_ready=timeout_s is not None)
    try:
        yield from answers
    except grpc.RpcError as error:
        raise from_status(error, _name(method)) from error
    finally:
        answers.cancel()


async def acall(method: Any, request: Message, *, timeout_s: float = INTERACTIVE_DEADLINE_S, wait: bool = True) -> Any:  # noqa: ANN401
    """Call a unary method from asyncio; see `call`."""
    try:
        return await method(request, timeout=timeout_s, metadata=_metadata(), wait_for_ready=wait)
    except grpc.RpcError as error:
        raise from_status(error, _name(method)) from error


async def astream(method: Any, request: Message, *, timeout_s: float | None = None) -> AsyncIterator[Any]:  # noqa: ANN401
    """Call a server-streaming method from asyncio; see `stream`."""
    answers = method(request, timeout=timeout_s, metadata=_metadata())
    try:
        async for answer in answers:
            yield answer
    except grpc.RpcError as error:
        raise from_status(error, _name(method)) from error
    finally:
        answers.cancel()


def _metadata() -> list[tuple[str, str]]:
    return [(REQUEST_ID_KEY, REQUEST_ID.get() or new_id("req"))]


def _name(method: object) -> str:
    raw = getattr(method, "_method", b"")
    text = raw.decode() if isinstance(raw, bytes) else str(raw)
    return text.strip("/").split("/", maxsplit=1)[0] or "the service"
