"""This process's session and run."""

import atexit
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsFloat

from modelwright.client.settings import ClientSettings, resolve_settings
from modelwright.tracking.records import RunFile, Started
from modelwright.tracking.run import FINISH_TIMEOUT_S, Run, flat
from modelwright.tracking.session import Session
from modelwright.tracking.surroundings import code_version, environment, hardware
from modelwright.tracking.syncing import Synced, sync_all
from services.common.errors import ConflictError
from services.common.ids import new_id


class _Current:
    """What `init` and `start_run` made last; one a process, as there is one training a process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.session: Session | None = None
        self.run: Run | None = None
        self.has_hooks = False

    def open(self, settings: ClientSettings, folder: Path | None) -> Session:
        with self.lock:
            if self.session is None or self.session.settings.url != settings.url or folder is not None:
                if self.session is not None:
                    self.session.close()
                self.session = Session(settings, folder)
            if not self.has_hooks:
                self.has_hooks = True
                atexit.register(self.close)
                os.register_at_fork(after_in_child=self.after_fork)
            return self.session

    def close(self) -> None:
        if self.session is not None:
            self.session.close()

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        if self.session is not None:
            self.session.after_fork()
        if self.run is not None:
            self.run.after_fork()


CURRENT = _Current()


def init(
    url: str | None = None,
    token: str | None = None,
    project: str | None = None,
    *,
    folder: str | Path | None = None,
) -> None:
    """Choose the server; without it, `start_run` takes `MODELWRIGHT_URL`, `_TOKEN` and `_PROJECT`.

    Args:
        url: the gateway's root address.
        token: the API token; it is not kept on disk.
        project: the project of the runs.
        folder: where records wait for the server; else `MODELWRIGHT_HOME`/outbox, else `~/.modelwright/outbox`.
    """
    CURRENT.open(resolve_settings(url, token, project), Path(folder) if folder else None)


def start_run(
    name: str = "",
    *,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    dataset: str = "",
) -> Run:
    """Start a run; also without a server, which then learns of it later.

    Args:
        name: shown to people; need not be unique.
        params: what the run was given; nested mappings become `a.b` keys.
        tags: labels.
        dataset: digest of the dataset version it trains on, if it is one of ours.
    """
    session = CURRENT.session or CURRENT.open(resolve_settings(), None)
    key = new_id("key")
    opened = RunFile(
        key=key,
        name=name or key,
        params=flat(params or {}),
        tags=flat(tags or {}),
        dataset_digest=dataset,
        code_version=code_version(),
        environment=environment(),
        hardware=hardware(),
    )
    session.open_run(opened)
    session.put(Started(run=key))
    CURRENT.run = Run(session, key, opened.name)
    return CURRENT.run


def active_run() -> Run:
    """Return the run that was started last.

    Raises:
        ConflictError: none was.
    """
    if CURRENT.run is None:
        raise ConflictError("no run is active; start one with modelwright.start_run()")
    return CURRENT.run


def log_metrics(metrics: Mapping[str, SupportsFloat], step: int | None = None) -> None:
    """Log to the active run; see `Run.log_metrics`."""
    active_run().log_metrics(metrics, step)


def finish(state: str = "succeeded", *, error: str = "", timeout_s: float = FINISH_TIMEOUT_S) -> bool:
    """Finish the active run; see `Run.finish`."""
    return active_run().finish(state, error=error, timeout_s=timeout_s)


def sync(
    url: str | None = None,
    token: str | None = None,
    project: str | None = None,
    *,
    folder: str | Path | None = None,
    timeout_s: float = 60.0,
) -> list[Synced]:
    """Send what earlier processes left on disk; returns how it went with each server.

    Records of processes that still run are theirs to send. `url` and `project`
    narrow it to one server; the token is used for all.
    """
    return sync_all(url, token, project, folder=Path(folder) if folder else None, timeout_s=timeout_s)
