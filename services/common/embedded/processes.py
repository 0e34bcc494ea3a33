"""Child processes of the embedded form: started together, restarted when they die, stopped together.

A platform that is killed takes them along: they are tethered to the threads that started them.
"""

import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.common.embedded.tether import tethered

log = logging.getLogger("modelwright")

LOOK_S = 0.2
PAUSES_S = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Before each restart in a row; one that ran for a minute starts the row anew."""
SETTLED_S = 60.0
FAILING = 2
"""Ends in a row after which a child is told to be failing."""


def failing_file(home: Path) -> Path:
    """Return the file that names the children which keep ending, and how often they did."""
    return home / "failing.json"


@dataclass(kw_only=True)
class Child:
    """One program of the household."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    failures: int = 0
    started_at: float = 0.0
    due_at: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None


class Household:
    """Keeps its children running, each with a log file `logs/<name>.log`.

    Args:
        logs: folder of the log files.
        grace_s: how long children may take to stop before they are killed.
    """

    def __init__(self, logs: Path, grace_s: float) -> None:
        self._logs, self._grace_s = logs, grace_s
        self._children: list[Child] = []
        self._stopping, self._settled, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="household", daemon=True)
        self._failing: dict[str, int] = {}
        failing_file(logs.parent).unlink(missing_ok=True)

    def start(self, child: Child) -> None:
        """Start a child and look after it from now on."""
        self._launch(child)
        self._children.append(child)
        if not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> None:
        """Stop the children in reverse order: each gets SIGTERM and its grace."""
        self._stopping.set()
        if self._thread.is_alive():
            self._settled.wait()
        for child in reversed(self._children):
            _end(child, self._grace_s)
        self._ended.set()

    def _launch(self, child: Child) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        with (self._logs / f"{child.name}.log").open("ab") as output:
            child.process = subprocess.Popen(
                tethered(child.command),
                env={**os.environ, **child.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for us; children are told in order.
                start_new_session=True,
            )
        child.started_at = time.monotonic()

    def _look_after(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for child in self._children:
                if not child.is_running:
                    self._revive(child)
            self._tell_failing()
        self._settled.set()
        # Those that this thread revived live as long as it does.
        self._ended.wait()

    def _tell_failing(self) -> None:
        now = time.monotonic()
        found = {
            child.name: child.failures
            for child in self._children
            if child.failures >= FAILING and now - child.started_at < SETTLED_S
        }
        if found != self._failing:
            self._failing = found
            failing_file(self._logs.parent).write_text(json.dumps(found))

    def _revive(self, child: Child) -> None:
        now = time.monotonic()
        if not child.due_at:
            code = child.process.returncode if child.process else None
            child.failures = 0 if now - child.started_at > SETTLED_S else child.failures
            pause = PAUSES_S[min(child.failures, len(PAUSES_S) - 1)]
            child.failures, child.due_at = child.failures + 1, now + pause
            log.warning("%s ended with code %s; starting it again in %.0f s (logs/%s.log)", child.name, code, pause,
                        child.name)  # fmt: skip
        if now >= child.due_at:
            child.due_at = 0.0
            self._launch(child)


def _end(child: Child, grace_s: float) -> None:
    if child.process is None or not child.is_running:
        return
    child.process.terminate()
    try:
        child.process.wait(grace_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
