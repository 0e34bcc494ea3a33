"""Sends what earlier processes left on disk."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from modelwright.client.settings import resolve_settings
from modelwright.tracking.records import Marker
from modelwright.tracking.session import ServerFile, Session, tracking_folder


@dataclass(frozen=True, kw_only=True)
class Synced:
    """How it went with one server."""

    url: str
    project: str
    sent: int
    """Records that it took."""
    is_complete: bool
    """Whether it took all that processes which have ended left for it."""


def sync_all(
    url: str | None,
    token: str | None,
    project: str | None,
    *,
    folder: Path | None = None,
    timeout_s: float = 60.0,
) -> list[Synced]:
    """Send every server its records; `url` and `project` narrow it, the token is used for all.

    Records of processes that are alive are theirs to send.
    """
    root = folder or tracking_folder()
    found: list[Synced] = []
    for place in sorted(root.glob("*/server.json")):
        server = msgspec.json.decode(place.read_bytes(), type=ServerFile)
        if (url and server.url != url.rstrip("/")) or (project and server.project != project):
            continue
        found.append(_sync(server, token, root, timeout_s))
    return found


def _sync(server: ServerFile, token: str | None, root: Path, timeout_s: float) -> Synced:
    session = Session(resolve_settings(server.url, token, server.project), root)
    # What others left is sent first, so once the marker is through, all of it is.
    session.put(Marker())
    is_complete = session.flush(timeout_s)
    sent = max(0, session.delivered - int(is_complete))
    session.close(0.0)
    return Synced(url=server.url, project=server.project, sent=sent, is_complete=is_complete)
