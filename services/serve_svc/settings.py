"""Settings of the control plane and of the inference server."""

import socket

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import CommonSettings


class ServeSettings(CommonSettings):
    """The control plane; read from `MODELWRIGHT_SERVE_*` and the common ones."""

    server_timeout_s: float = Field(default=10.0, alias="MODELWRIGHT_SERVE_SERVER_TIMEOUT_S", gt=0)
    """An inference server not heard of for this long counts as gone: nothing waits for it, no traffic is sent there."""
    watch_interval_s: float = Field(default=1.0, alias="MODELWRIGHT_SERVE_WATCH_INTERVAL_S", gt=0)
    """How soon a change made by another process of the control plane is seen at the latest."""


class InferenceSettings(CommonSettings):
    """The inference server; its own fields are read from `MODELWRIGHT_INFERENCE_*`."""

    model_config = SettingsConfigDict(env_prefix="MODELWRIGHT_", frozen=True, extra="ignore", populate_by_name=True)

    name: str = Field(default="", alias="MODELWRIGHT_INFERENCE_NAME")
    """Name towards the control plane, one a server; empty: host name and REST port."""
    port: int = Field(default=8081, alias="MODELWRIGHT_INFERENCE_PORT", ge=0, le=65535)
    """REST port; 0 lets the system choose."""
    grpc_port: int = Field(default=8082, alias="MODELWRIGHT_INFERENCE_GRPC_PORT", ge=0, le=65535)
    """gRPC port; 0 lets the system choose."""
    advertised_host: str = Field(default="", alias="MODELWRIGHT_INFERENCE_ADVERTISED_HOST")
    """Host under which others reach this server; empty: the bound address, or the host name where that is 0.0.0.0."""
    max_body_bytes: int = Field(default=64 << 20, alias="MODELWRIGHT_INFERENCE_MAX_BODY_BYTES", gt=0)
    """Largest request body, unpacked; a larger one is answered with 413 or OUT_OF_RANGE."""
    read_timeout_s: float = Field(default=30.0, alias="MODELWRIGHT_INFERENCE_READ_TIMEOUT_S", gt=0)
    """A request that is not whole after this long is answered with 408."""
    idle_timeout_s: float = Field(default=300.0, alias="MODELWRIGHT_INFERENCE_IDLE_TIMEOUT_S", gt=0)
    """A connection without a request for this long is closed."""
    cache_bytes: int = Field(default=4 << 30, alias="MODELWRIGHT_INFERENCE_CACHE_BYTES", gt=0)
    """Packages kept on the local disk, under `home`/cache/inference."""
    drain_s: float = Field(default=20.0, alias="MODELWRIGHT_INFERENCE_DRAIN_S", ge=0)
    """How long requests in flight may take once the server was told to stop."""
    reconnect_s: float = Field(default=0.5, alias="MODELWRIGHT_INFERENCE_RECONNECT_S", gt=0)
    """Pause before the control plane is tried again."""

    def reachable_host(self) -> str:
        """Return the host to tell others."""
        return self.advertised_host or (socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host)
