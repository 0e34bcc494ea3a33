"""Names of objects in a storage."""

import re

from services.common.errors import InvalidError

MAX_KEY_BYTES = 1024
"""Longest key that S3 takes."""
MAX_SEGMENT_BYTES = 255
"""Longest file name that common file systems take."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def check_key(key: str) -> str:
    """Return `key` if every storage can hold it: relative, forward slashes, no `..`.

    Raises:
        InvalidError: it is empty, absolute, too long, leaves its folder or holds control characters.
    """
    fault = _fault(key)
    if fault:
        raise InvalidError(
            f"storage key {key[:200]!r} {fault}; use relative paths such as 'blobs/sha256/ab/cd'", field="key"
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` if keys may begin with it; the empty prefix stands for all keys."""
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix


def _fault(key: str) -> str:
    segments = key.split("/")
    try:
        lengths = [len(segment.encode()) for segment in segments]
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if not key or _CONTROL.search(key):
        return "holds control characters or backslashes" if key else "is empty"
    if any(segment in {"", ".", ".."} for segment in segments) or key.startswith("."):
        return "is absolute, begins with '.', or has an empty, '.' or '..' part"
    if max(lengths) > MAX_SEGMENT_BYTES or sum(lengths) + len(lengths) - 1 > MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes, or {MAX_SEGMENT_BYTES} between slashes"
    return ""
