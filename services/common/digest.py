"""Content addresses: `sha256:<hex>` of the bytes."""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from services.common.errors import InvalidError

PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
CHUNK_BYTES = 1 << 20


def digest_bytes(data: bytes) -> str:
    """Return the digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_chunks(chunks: Iterable[bytes]) -> str:
    """Return the digest of the chunks laid end to end."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return "sha256:" + state.hexdigest()


def digest_file(path: Path) -> str:
    """Return the digest of the file's bytes, read in chunks."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the digest of a JSON value, the same for any order of its keys."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def check_digest(text: str, field: str) -> str:
    """Return `text` if it is a digest, or say what one looks like."""
    if not PATTERN.fullmatch(text):
        raise InvalidError(f"{text!r} is not a digest; one reads 'sha256:' and 64 hex digits", field=field)
    return text
