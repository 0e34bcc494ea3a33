"""The gateway's settings, read from `MODELWRIGHT_*`."""

import ipaddress

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from gateway.identity import Identities, parse_tokens
from services.common.settings import CommonSettings


class GatewaySettings(CommonSettings):
    """What the gateway needs beside what every service has."""

    model_config = SettingsConfigDict(env_prefix="MODELWRIGHT_", frozen=True, extra="ignore")

    gateway_port: int = Field(default=8080, ge=0, le=65535)
    """Port of REST and pages; 0 lets the system choose."""
    api_token: SecretStr = SecretStr("")
    """Bearer token that callers must show; empty on loopback: anyone on this machine may call."""
    api_tokens: SecretStr = SecretStr("")
    """More tokens, `name=token` with commas between; the name is recorded as who did what."""
    allowed_hosts: str = ""
    """Host names by which browsers reach the gateway, with commas between; loopback's own are always allowed."""
    max_body_bytes: int = Field(default=4 << 20, ge=1024)
    """Largest JSON or YAML body; longer ones are answered with 413."""
    max_predict_bytes: int = Field(default=64 << 20, ge=1024)
    """Largest body of a prediction: pictures and tensors."""
    max_upload_bytes: int = Field(default=1 << 40, ge=1)
    """Largest upload or blob."""
    upload_part_bytes: int = Field(default=16 << 20, ge=1 << 16, le=512 << 20)
    """Bytes an upload gathers before they are noted as received: what a cut connection may lose at most."""
    idempotency_ttl_s: float = Field(default=86_400.0, gt=0)
    """How long an answer is kept for a repeat of its `Idempotency-Key`."""
    heartbeat_s: float = Field(default=15.0, gt=0)
    """Silence after which an event stream sends a comment, so that proxies keep it open."""
    max_streams: int = Field(default=512, ge=1)
    """Event streams open at once; one more is answered with 429."""
    gc_grace_s: float = Field(default=86_400.0, ge=0)
    """Blobs younger than this are never collected: their owner may still be about to name them."""
    deploy_timeout_s: float = Field(default=300.0, gt=0)
    """How long a lifecycle's serve stage waits for its deployment to be ready."""
    max_lifecycles: int = Field(default=64, ge=1)
    """Lifecycles that run at once; one more is answered with 429."""

    @model_validator(mode="after")
    def _check_exposure(self) -> "GatewaySettings":
        if not self.is_loopback and not self.identities().required:
            raise ValueError(
                f"MODELWRIGHT_HOST={self.host} opens the gateway to other machines; set MODELWRIGHT_API_TOKEN "
                "(16 characters or more) or bind 127.0.0.1"
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Say whether only this machine can reach the gateway."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def identities(self) -> Identities:
        """Return who may call."""
        return parse_tokens(self.api_token.get_secret_value(), self.api_tokens.get_secret_value())
