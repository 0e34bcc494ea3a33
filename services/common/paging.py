"""Page tokens: opaque to callers, bound to the query they came from."""

import base64
import binascii
import hashlib
import json
from typing import Any

from services.common.errors import InvalidError

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


def page_limit(page_size: int) -> int:
    """Return how many rows to give for the asked `page_size` (0: the default)."""
    if page_size < 0:
        raise InvalidError(f"page_size {page_size} is negative; give 1 to {MAX_PAGE_SIZE}", field="page_size")
    return min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def encode_token(after: list[Any], query: dict[str, Any]) -> str:
    """Return a token that goes on behind the row whose sort values are `after`."""
    body = json.dumps([_mark(query), after], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def decode_token(token: str, query: dict[str, Any]) -> list[Any] | None:
    """Return the sort values to go on behind, or None for the first page.

    Raises:
        InvalidError: the token is damaged or belongs to another query.
    """
    if not token:
        return None
    try:
        mark, after = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, TypeError, binascii.Error):
        mark, after = "", None
    if not isinstance(after, list) or mark != _mark(query):
        raise InvalidError("page_token does not belong to this query; start again without it", field="page_token")
    return after


def _mark(query: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(query, sort_keys=True, default=str).encode()).hexdigest()[:12]
