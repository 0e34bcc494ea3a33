"""Identifiers that sort by time."""

import os
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no letter that reads like a digit."""


def new_id(prefix: str) -> str:
    """Return `prefix_` and 26 characters: 48 bits of milliseconds, 80 of chance (as ULID)."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10))
    return f"{prefix}_" + "".join(ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))
