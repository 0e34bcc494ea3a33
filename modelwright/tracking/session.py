"""This process's line to one server: records go to disk at once and to the server when it answers."""

import hashlib
import logging
import os
import threading
from dataclasses import replace
from pathlib import Path

import msgspec

from modelwright.client import Client
from modelwright.client.settings import ClientSettings
from modelwright.tracking.delivery import Delivery
from modelwright.tracking.records import Entry, RunFile, encode, write_run
from modelwright.tracking.spool import Spool

LOGGER = logging.getLogger("modelwright.tracking")
CLOSE_TIMEOUT_S = 10.0


class ServerFile(msgspec.Struct, kw_only=True):
    """Which server the records beside this file are for; its token is not kept."""

    url: str
    project: str


def tracking_folder() -> Path:
    """Return where records wait: `MODELWRIGHT_HOME`/outbox, or `~/.modelwright/outbox`."""
    home = os.environ.get("MODELWRIGHT_HOME")
    return (Path(home) if home else Path.home() / ".modelwright") / "outbox"


def server_folder(root: Path, settings: ClientSettings) -> Path:
    """Return the folder of one server's and project's records under `root`."""
    mark = hashlib.sha256(f"{settings.url}\n{settings.project}".encode()).hexdigest()[:16]
    return root / mark


class Session:
    """Keeps records for one server and sends them in the background; survives a fork.

    Args:
        settings: the server and project.
        root: where records wait; see `tracking_folder`.
    """

    def __init__(self, settings: ClientSettings, root: Path | None = None) -> None:
        self.settings = replace(settings, retries=0)
        self.folder = server_folder(root or tracking_folder(), settings)
        self._lock = threading.Lock()
        self._spool: Spool | None = None
        self._pid = os.getpid()
        self.folder.mkdir(parents=True, exist_ok=True)
        server = ServerFile(url=settings.url, project=settings.project)
        (self.folder / "server.json").write_bytes(msgspec.json.encode(server))

    @property
    def runs(self) -> Path:
        """Folder of the run files."""
        return self.folder / "runs"

    @property
    def copies(self) -> Path:
        """Folder of files that wait to be sent."""
        return self.folder / "files"

    def open_run(self, run: RunFile) -> None:
        """Keep a run on disk; from here on it will be created even if this process dies."""
        write_run(self.runs, run)

    def put(self, entry: Entry) -> None:
        """Hand over a record; takes microseconds and never waits for the server."""
        self._opened().put(encode(entry))

    def flush(self, timeout_s: float) -> bool:
        """Wait until the server has everything; False if it did not within the time. Nothing is lost then."""
        return self._opened().flush(timeout_s)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Send what is left and stop; what could not be sent stays on disk for the next process or `sync`."""
        with self._lock:
            spool, self._spool = self._spool, None
        if spool is None or self._pid != os.getpid():
            return True
        sent = spool.close(timeout_s)
        if not sent:
            LOGGER.warning(
                "%s does not answer; records are kept in %s and sent by the next run or `modelwright sync`",
                self.settings.url,
                self.folder,
            )
        return sent

    def _opened(self) -> Spool:
        spool = self._spool
        if spool is not None and self._pid == os.getpid():
            return spool
        with self._lock:
            if self._spool is None or self._pid != os.getpid():
                # Threads and sockets do not survive a fork; the parent's spool is the parent's.
                deliver = Delivery(Client(settings=self.settings), self.runs).deliver
                self._spool, self._pid = Spool(self.folder / "spool", deliver), os.getpid()
            return self._spool

    def after_fork(self) -> None:
        """Forget what belongs to the parent; called in the child."""
        self._lock = threading.Lock()
        if self._spool is not None:
            self._spool.abandon()
        self._spool = None
