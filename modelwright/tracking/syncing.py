"""Sends what earlier processes left on disk."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from modelwright.client import Client
from modelwright.client.settings import resolve_settings
from modelwright.tracking.delivery import Delivery
from modelwright.tracking.session import ServerFile, tracking_folder
from modelwright.tracking.spool import SUFFIX, Deliver, drain_file
from services.common.errors import UnavailableError

PAUSE_S = 0.5


def sync_all(
    url: str | None,
    token: str | None,
    project: str | None,
    *,
    folder: Path | None = None,
    timeout_s: float = 60.0,
) -> dict[str, int]:
    """Send every server its records; returns, by server address, how many files could not be sent whole.

    `url` and `project` narrow it to one server and project. Files of processes
    that are alive are theirs to send and do not count.
    """
    root = folder or tracking_folder()
    until = time.monotonic() + timeout_s
    left: dict[str, int] = {}
    for place in sorted(root.glob("*/server.json")):
        server = msgspec.json.decode(place.read_bytes(), type=ServerFile)
        if (url and server.url != url.rstrip("/")) or (project and server.project != project):
            continue
        settings = replace(resolve_settings(server.url, token, server.project), retries=0)
        with Client(settings=settings) as client:
            deliver = Delivery(client, place.parent / "runs").deliver
            count = sum(not _drain(path, deliver, until) for path in sorted(place.parent.glob(f"spool/*{SUFFIX}")))
        if count:
            left[server.url] = left.get(server.url, 0) + count
    return left


def _drain(path: Path, deliver: Deliver, until: float) -> bool:
    try:
        return drain_file(path, _patient(deliver, until))
    except BlockingIOError:
        return True


def _patient(deliver: Deliver, until: float) -> Callable[[Sequence[bytes]], bool]:
    def attempt(records: Sequence[bytes]) -> bool:
        while True:
            try:
                deliver(records)
            except UnavailableError:
                if time.monotonic() + PAUSE_S > until:
                    return False
                time.sleep(PAUSE_S)
            else:
                return True

    return attempt
