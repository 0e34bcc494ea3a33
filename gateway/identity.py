"""Who calls: bearer tokens, and browsers kept from acting for pages that are not ours."""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.common.errors import UnauthorizedError
from services.common.names import check_name

MIN_TOKEN_CHARACTERS = 16
LOCAL_ACTOR = "local"
"""Name of a caller on loopback while no token is set."""
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


@dataclass(frozen=True, kw_only=True)
class Identities:
    """The tokens that are accepted, as hashes, and the names behind them."""

    actors: tuple[tuple[bytes, str], ...] = ()

    @property
    def required(self) -> bool:
        """Say whether callers must show a token."""
        return bool(self.actors)

    def actor_of(self, authorization: str, *, allow_basic: bool = False) -> str:
        """Return the name of who shows `Authorization: Bearer …`.

        Args:
            authorization: the header; empty if there was none.
            allow_basic: take the token as a password too, which is what a browser can ask a person for.

        Raises:
            UnauthorizedError: no token, or one that is not known.
        """
        if not self.actors:
            return LOCAL_ACTOR
        token = _token_of(authorization, allow_basic=allow_basic)
        if not token:
            raise UnauthorizedError("this gateway demands a token; send 'Authorization: Bearer <token>'")
        mark, found = _hash(token), ""
        for known, name in self.actors:  # All are compared, so that time tells nothing.
            if hmac.compare_digest(known, mark):
                found = name
        if not found:
            raise UnauthorizedError("the token is not known here; check MODELWRIGHT_API_TOKEN of client and gateway")
        return found


def parse_tokens(token: str, tokens: str) -> Identities:
    """Return the identities that `MODELWRIGHT_API_TOKEN` and `MODELWRIGHT_API_TOKENS` (`name=token,…`) state.

    Raises:
        ValueError: a token is short or has no name; the token itself is not repeated.
    """
    pairs = [("token", token.strip())] if token.strip() else []
    for number, entry in enumerate(filter(None, map(str.strip, tokens.split(","))), 1):
        name, found, secret = entry.partition("=")
        if not found:
            raise ValueError(f"entry {number} of MODELWRIGHT_API_TOKENS is not 'name=token'")
        pairs.append((check_name(name.strip(), "token name"), secret.strip()))
    for name, secret in pairs:
        if len(secret) < MIN_TOKEN_CHARACTERS:
            raise ValueError(f"the API token {name!r} has under {MIN_TOKEN_CHARACTERS} characters; take a longer one")
    return Identities(actors=tuple((_hash(secret), name) for name, secret in pairs))


@dataclass(frozen=True, kw_only=True)
class Browsers:
    """Which addresses browsers may use, so that a foreign page can neither post here nor rebind a name to us."""

    hosts: frozenset[str]
    """Names a `Host` header may carry; empty: any (callers then show a token)."""

    def objection(self, method: str, host: str, origin: str, fetch_site: str, fetch_mode: str) -> str:
        """Return why a request with these headers is refused, or nothing."""
        name = host_name(host)
        if self.hosts and name not in self.hosts:
            return f"the Host {host!r} is not one of this gateway's; use one of {', '.join(sorted(self.hosts))}"
        if origin and not _same_origin(origin, host):
            return f"pages of {origin!r} may not call this gateway; call it from its own pages or outside a browser"
        navigates = method in ("GET", "HEAD") and fetch_mode == "navigate"
        if not origin and fetch_site in ("cross-site", "same-site") and not navigates:
            return "pages of other sites may not call this gateway; call it from its own pages or outside a browser"
        return ""


def host_name(host: str) -> str:
    """Return the name in a `Host` header without port and brackets, in lower case; empty if malformed."""
    if not HOST.fullmatch(host):
        return ""
    return (urlsplit(f"//{host}").hostname or "").lower()


def _same_origin(origin: str, host: str) -> bool:
    scheme, _, rest = origin.partition("://")
    return scheme in ("http", "https") and rest.lower() == host.lower()


def _token_of(authorization: str, *, allow_basic: bool) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic" and allow_basic:
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
