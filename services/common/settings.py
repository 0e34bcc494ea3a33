"""Settings that every service has. All are read from `MODELWRIGHT_*`."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.embedded.redis import redis_socket


class TlsSettings(BaseSettings):
    """Transport security of gRPC servers and channels; plain text while all are unset."""

    model_config = SettingsConfigDict(env_prefix="MODELWRIGHT_TLS_", frozen=True)

    certificate: Path | None = None
    """PEM file of this process's certificate chain; with `key`, servers speak TLS."""
    key: Path | None = None
    """PEM file of its private key."""
    ca: Path | None = None
    """PEM file of the authority that peers must be signed by; clients then speak TLS."""
    require_client_certificate: bool = False
    """Servers refuse peers that show no certificate signed by `ca` (mTLS)."""


class CommonSettings(BaseSettings):
    """What any service needs to run, embedded or deployed."""

    model_config = SettingsConfigDict(env_prefix="MODELWRIGHT_", frozen=True, extra="ignore")

    home: Path = Field(default_factory=lambda: Path(os.environ.get("MODELWRIGHT_HOME", ".modelwright")).absolute())
    """Folder of everything the embedded form keeps: databases, storage, Redis, logs."""
    database_url: str = ""
    """SQLAlchemy URL such as `postgresql+psycopg://…`; empty: SQLite under `home`. One schema a service."""
    broker_url: str = ""
    """`redis://…` or `redis+socket:///…` of Celery's broker; empty: the embedded Redis under `home`."""
    storage_url: str = ""
    """`s3://bucket[/prefix]` or a folder; empty: `home`/storage."""
    s3_endpoint: str = ""
    """`http(s)://host:port` of the S3 service that holds the bucket."""
    s3_access_key: str = ""
    """Access key id."""
    s3_secret_key: str = Field(default="", repr=False)
    """Secret key."""
    host: str = "127.0.0.1"
    """Address that servers bind. Anything but loopback demands an API token at the gateway."""
    data_address: str = "127.0.0.1:50051"
    """Where data_svc listens and is reached. Port 0 lets the system choose."""
    train_address: str = "127.0.0.1:50052"
    """Where train_svc listens and is reached."""
    compress_address: str = "127.0.0.1:50053"
    """Where compress_svc listens and is reached."""
    serve_address: str = "127.0.0.1:50054"
    """Where serve_svc's control plane listens and is reached."""
    lease_s: float = 15.0
    """A job whose worker has not renewed for this long goes back on the queue."""
    reap_interval_s: float = 2.0
    """How often a service looks for dead leases and lost bells."""
    grace_s: float = 20.0
    """How long a stopping job may take for its checkpoint before it is killed."""
    rpc_threads: int = 32
    """Threads of a gRPC server: the most calls and streams it answers at once."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is logged."""
    log_format: Literal["text", "json"] = "text"
    """`json` for log collectors."""
    tls: TlsSettings = Field(default_factory=TlsSettings)
    """Transport security."""

    def listen_address(self, name: Literal["data", "train", "compress", "serve"]) -> str:
        """Return where the service binds: `host`, and the port by which it is reached."""
        return f"{self.host}:{getattr(self, f'{name}_address').rsplit(':', 1)[1]}"

    def database_url_of(self, service: str) -> str:
        """Return the service's own database: a SQLite file, or its schema of the shared PostgreSQL."""
        return self.database_url or f"sqlite:///{self.home / 'db' / service}.sqlite"

    def broker(self) -> str:
        """Return the broker's URL, that of the embedded Redis if none is set."""
        return self.broker_url or f"redis+socket://{redis_socket(self.home)}"

    def storage(self) -> str:
        """Return the storage's URL or folder."""
        return self.storage_url or str(self.home / "storage")
