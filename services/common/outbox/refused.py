"""Entries that the receiver will never take, kept for people to look at."""

import time
from pathlib import Path
from typing import Any

import msgspec

from services.common.ids import new_id

FOLDER = "refused"
MAX_FILES = 100
"""Older files go."""


def keep_aside(folder: Path, batch: list[Any], error: str) -> Path | None:
    """Write the batch with the reason as msgpack and return the file; None if the disk takes no more."""
    aside = folder / FOLDER
    path = aside / f"{new_id('refused')}.msgpack"
    try:
        aside.mkdir(exist_ok=True)
        path.write_bytes(msgspec.msgpack.encode({"error": error, "time": time.time(), "entries": batch}))
        for old in sorted(aside.iterdir())[:-MAX_FILES]:
            old.unlink(missing_ok=True)
    except OSError:
        return None
    return path


def read_refused(folder: Path) -> list[dict[str, Any]]:
    """Return what was kept aside under an outbox's folder, oldest first: error, time and entries of each."""
    files = sorted((folder / FOLDER).glob("*.msgpack"))
    return [msgspec.msgpack.decode(path.read_bytes()) for path in files]
