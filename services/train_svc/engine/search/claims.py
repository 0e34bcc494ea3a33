"""Which process runs which trial, and what becomes of those whose process is gone."""

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from optuna.trial import TrialState

from services.train_svc.engine.search.store import SYSTEM, USER, Store, write_attr

RUNG = "completed\\_rung\\_%"
"""Optuna's notes of what a trial had at each rung of successive halving."""
MOST_ATTEMPTS = 3
"""Times that a trial is begun without making one more epoch, until it counts as failed: it may be what kills."""
THAT_RUNS = "WHERE id = ? AND state = ? AND owner = ?"
ERROR = "error"
"""Under which a failed trial keeps why."""


class Claims:
    """Trials of one study, taken by processes.

    A process that runs trials holds a lock on a file of its own. The kernel lets go of it when the process ends,
    however it ends, and then its trials wait again.

    Args:
        store: of the study.
        study_id: which.
        folder: of the locks.
        parameters: how many each trial has.
    """

    def __init__(self, store: Store, study_id: int, folder: Path, *, parameters: int) -> None:
        self._database, self._study, self._folder = store.database, study_id, folder
        self._parameters = parameters
        self._owner = ""

    @contextmanager
    def present(self) -> Iterator[None]:
        """Be known as a process that runs trials."""
        self._folder.mkdir(parents=True, exist_ok=True)
        owner = uuid.uuid4().hex
        with open(self._folder / owner, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._owner = owner
            try:
                yield
            finally:
                self._owner = ""
                os.unlink(self._folder / owner)

    def take(self, below: int) -> int | None:
        """Take the first waiting trial whose number is below, and return its id; None: none waits."""
        self.take_back()
        with self._database.writing() as connection:
            row = connection.execute(
                "UPDATE trials SET state = ?, owner = ?, attempts = attempts + 1, started = ? WHERE id = "
                "(SELECT id FROM trials WHERE study = ? AND state = ? AND number < ? ORDER BY number LIMIT 1) "
                "RETURNING id",
                (int(TrialState.RUNNING), self._owner, _now(), self._study, int(TrialState.WAITING), below),
            ).fetchone()
        return int(row[0]) if row else None

    def give_back(self, trial_id: int) -> None:
        """Let a trial of this process wait again; the attempt does not count."""
        self._let_wait(trial_id, self._owner, attempts=1)

    def progressed(self, trial_id: int) -> None:
        """Note that a trial got further than any attempt before."""
        with self._database.writing() as connection:
            connection.execute("UPDATE trials SET attempts = 1 WHERE id = ?", (trial_id,))

    def attempts(self, trial_id: int) -> int:
        """Return how many times a trial was begun since it last got further."""
        query = "SELECT attempts FROM trials WHERE id = ?"
        return int(self._database.reading().execute(query, (trial_id,)).fetchone()[0])

    def take_back(self) -> None:
        """Let the trials of processes that are gone wait again, or fail them if they were begun too often."""
        query = "SELECT id, owner, attempts FROM trials WHERE study = ? AND state = ?"
        running = self._database.reading().execute(query, (self._study, int(TrialState.RUNNING))).fetchall()
        for trial_id, owner, attempts in running:
            if owner == self._owner or self._is_there(owner):
                continue
            (self._folder / owner).unlink(missing_ok=True)
            if attempts >= MOST_ATTEMPTS:
                self._fail(trial_id, owner, f"its process was ended from outside {attempts} times, perhaps for memory")
            else:
                self._let_wait(trial_id, owner)

    def _is_there(self, owner: str) -> bool:
        try:
            with open(self._folder / owner) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _let_wait(self, trial_id: int, owner: str, attempts: int = 0) -> None:
        with self._database.writing() as connection:
            changed = connection.execute(
                f"UPDATE trials SET state = ?, owner = '', attempts = attempts - ? {THAT_RUNS}",
                (int(TrialState.WAITING), attempts, trial_id, int(TrialState.RUNNING), owner),
            ).rowcount
            if changed:
                _forget(connection, trial_id, self._parameters)

    def _fail(self, trial_id: int, owner: str, message: str) -> None:
        with self._database.writing() as connection:
            changed = connection.execute(
                f"UPDATE trials SET state = ?, owner = '', ended = ? {THAT_RUNS}",
                (int(TrialState.FAIL), _now(), trial_id, int(TrialState.RUNNING), owner),
            ).rowcount
            if changed:
                write_attr(connection, trial_id, USER, ERROR, message)


def _forget(connection: sqlite3.Connection, trial_id: int, parameters: int) -> None:
    # What it reported is reported again from its curve, so that no decision is lost in between. Parameters stay, unless
    # they were still being drawn: then they are drawn anew, which gives the same.
    connection.execute("DELETE FROM reports WHERE trial = ?", (trial_id,))
    rungs = (trial_id, SYSTEM, RUNG)
    connection.execute("DELETE FROM trial_attrs WHERE trial = ? AND kind = ? AND key LIKE ? ESCAPE '\\'", rungs)
    (drawn,) = connection.execute("SELECT COUNT(*) FROM params WHERE trial = ?", (trial_id,)).fetchone()
    if drawn < parameters:
        connection.execute("DELETE FROM params WHERE trial = ?", (trial_id,))


def _now() -> str:
    return datetime.now().isoformat()
