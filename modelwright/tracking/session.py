"""This process's line to one server: records are on disk at once and at the server when it answers."""

import hashlib
import logging
import os
import threading
import time
from pathlib import Path

import msgspec

from modelwright.client.settings import ClientSettings
from modelwright.tracking.delivery import Delivery
from modelwright.tracking.records import Entry, RunFile, encode, write_run
from services.common.outbox import Outbox

LOGGER = logging.getLogger("modelwright.tracking")
MAX_BATCH = 5000
"""Records sent together: a second's worth of a busy training."""
FLUSH_INTERVAL_S = 0.5
CLOSE_TIMEOUT_S = 10.0
PATIENCE_S = 3.0
"""A server that has failed for this long is not waited for at the end of a run."""


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
    """Keeps records for one server and sends them in the background.

    The outbox sees to forks, to what ended processes left, and to batches.

    Args:
        settings: the server and project.
        root: where records wait; see `tracking_folder`.
    """

    def __init__(self, settings: ClientSettings, root: Path | None = None) -> None:
        self.settings = settings
        self.folder = server_folder(root or tracking_folder(), settings)
        self.folder.mkdir(parents=True, exist_ok=True)
        server = msgspec.json.encode(ServerFile(url=settings.url, project=settings.project))
        (self.folder / "server.json").write_bytes(server)
        self._delivery = Delivery(settings, self.folder)
        self._outbox: Outbox | None = None
        self._lock = threading.Lock()

    @property
    def runs(self) -> Path:
        """Folder of the run files."""
        return self.folder / "runs"

    @property
    def copies(self) -> Path:
        """Folder of files that wait to be sent."""
        return self.folder / "files"

    @property
    def delivered(self) -> int:
        """Records that the server took."""
        return self._delivery.delivered

    def open_run(self, run: RunFile) -> None:
        """Keep a run on disk; from here on it will be created even if this process dies."""
        write_run(self.runs, run)

    def put(self, entry: Entry) -> None:
        """Keep a record; takes microseconds and never waits for the server."""
        (self._outbox or self._opened()).put(encode(entry))

    def flush(self, timeout_s: float) -> bool:
        """Wait until the server has everything; False if the time or the patience was over. Nothing is lost then."""
        outbox = self._opened()
        until = time.monotonic() + timeout_s
        while not outbox.flush(min(0.25, max(0.0, until - time.monotonic()))):
            if time.monotonic() >= until or self._is_hopeless:
                return False
        return True

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Send what is left and stop; what could not be sent stays on disk for the next process or `sync`."""
        with self._lock:
            outbox = self._outbox
        if outbox is None:
            return True
        sent = self.flush(timeout_s)
        with self._lock:
            self._outbox = None
        outbox.close(0.0)
        self._delivery.close()
        if not sent:
            LOGGER.warning(
                "%s does not answer; records are kept in %s and sent by the next run or `modelwright sync`",
                self.settings.url,
                self.folder,
            )
        return sent

    def after_fork(self) -> None:
        """Let go of a lock that a thread of the parent may have held; called in the child."""
        self._lock = threading.Lock()

    @property
    def _is_hopeless(self) -> bool:
        since = self._delivery.failing_since
        return since is not None and time.monotonic() - since > PATIENCE_S

    def _opened(self) -> Outbox:
        with self._lock:
            if self._outbox is None:
                self._outbox = Outbox(
                    self.folder, self._delivery.deliver, max_batch=MAX_BATCH, flush_interval_s=FLUSH_INTERVAL_S
                )
            return self._outbox
