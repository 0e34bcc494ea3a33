"""Where the server is, who asks, and how long to wait."""

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from services.common.errors import InvalidError
from services.common.names import check_name

DEFAULT_URL = "http://127.0.0.1:8080"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """How a client reaches its server."""

    url: str = DEFAULT_URL
    """Root address of the gateway, `http(s)://host[:port][/prefix]`."""
    token: str = field(default="", repr=False)
    """API token; a gateway on loopback needs none."""
    project: str = "default"
    """Project that every call is about."""
    connect_timeout_s: float = 5.0
    """Longest wait for a connection."""
    timeout_s: float = 60.0
    """Longest silence of the server during a call."""
    retries: int = 4
    """How often a call that may be repeated is repeated before it fails."""
    backoff_s: float = 0.2
    """Wait before the first repetition; it doubles, with chance mixed in, up to 5 s."""

    def __post_init__(self) -> None:
        """Refuse an address that no request could be sent to."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidError(
                f"{self.url!r} is not a server address; give http(s)://host:port, for example {DEFAULT_URL}",
                field="url",
            )
        if not self.project:
            raise InvalidError("project is empty; give its name, for example 'default'", field="project")
        check_name(self.project, "project")

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine; proxies are then left out."""
        return urlsplit(self.url).hostname in LOOPBACK


def resolve_settings(url: str | None = None, token: str | None = None, project: str | None = None) -> ClientSettings:
    """Return settings from the arguments, then `MODELWRIGHT_URL`, `_TOKEN`, `_PROJECT`, then the defaults."""
    env = os.environ
    return ClientSettings(
        url=(url or env.get("MODELWRIGHT_URL") or DEFAULT_URL).rstrip("/"),
        token=token or env.get("MODELWRIGHT_TOKEN") or env.get("MODELWRIGHT_API_TOKEN") or "",
        project=project or env.get("MODELWRIGHT_PROJECT") or "default",
    )
