"""The tables of a search's file, and connections to it."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_S = 60.0
"""How long a write waits for those of other processes."""
TABLES = """
CREATE TABLE IF NOT EXISTS studies (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL, directions TEXT);
CREATE TABLE IF NOT EXISTS study_attrs (study INTEGER, kind TEXT, key TEXT, value TEXT, PRIMARY KEY (study, kind, key));
CREATE TABLE IF NOT EXISTS trials (
    id INTEGER PRIMARY KEY AUTOINCREMENT, study INTEGER NOT NULL, number INTEGER NOT NULL, state INTEGER NOT NULL,
    result TEXT, started TEXT, ended TEXT, owner TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0,
    UNIQUE (study, number));
CREATE TABLE IF NOT EXISTS params (
    trial INTEGER, name TEXT, internal REAL, distribution TEXT, PRIMARY KEY (trial, name));
CREATE TABLE IF NOT EXISTS trial_attrs (trial INTEGER, kind TEXT, key TEXT, value TEXT, PRIMARY KEY (trial, kind, key));
CREATE TABLE IF NOT EXISTS reports (trial INTEGER, step INTEGER, value TEXT, PRIMARY KEY (trial, step));
"""


class Database:
    """A file of SQLite that several processes and threads share: one connection for each of them.

    With a write-ahead log readers wait for nobody, and what was committed outlives a process that is killed. Each
    commit is flushed to the disk, so it outlives a loss of power too. The file must be on a disk of this machine.

    Args:
        path: the file; it is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        with self.writing() as connection:
            for statement in TABLES.split(";"):
                connection.execute(statement)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs."""
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the same file."""
        self.path = state["path"]
        self._local = threading.local()

    def reading(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        # A connection must not be used on the other side of a fork.
        if getattr(self._local, "process", None) != os.getpid():
            self._local.connection, self._local.process = self._connected(), os.getpid()
        found: sqlite3.Connection = self._local.connection
        return found

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction, which an error undoes; other writers wait."""
        connection = self.reading()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def close(self) -> None:
        """Close this thread's connection."""
        if getattr(self._local, "process", None) == os.getpid():
            self._local.connection.close()
            self._local.process = None

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection
