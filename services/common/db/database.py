"""One service's database and its transactions."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, make_url, text
from sqlalchemy.orm import Session

from services.common.db.failures import translated
from services.common.db.revisions import current, newest

log = logging.getLogger("modelwright.db")

WRITES = "modelwright_writes"
BUSY_TIMEOUT_MS = 15_000
"""How long SQLite waits for another writer."""


class Database:
    """A service's tables, in a SQLite file or in the service's own schema of a PostgreSQL database.

    Args:
        url: `sqlite:///path` or `postgresql+psycopg://…`.
        schema: the service's name: the schema on PostgreSQL.
        metadata: its tables.
        pool_size: connections kept on PostgreSQL.
    """

    def __init__(self, url: str, schema: str, metadata: MetaData, *, pool_size: int = 8) -> None:
        self.url = make_url(url)
        self.schema = schema
        self.metadata = metadata
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._sqlite() if self.is_sqlite else self._postgresql(pool_size)
        self._writer = self.engine.execution_options(**{WRITES: True})
        # SQLite readers see one state anyway.
        snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self.engine.execution_options(**snapshot)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session that sees one consistent state and writes nothing.

        Raises:
            UnavailableError: the database is away.
        """
        with translated(self.where), Session(self._reader, expire_on_commit=False) as session:
            # Closing ends the transaction; a rollback here would empty the objects that the caller read.
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session whose changes are kept together when the block ends, or not at all.

        Raises:
            UnavailableError: the database is away or another writer held it too long.
            StorageFullError: its disk is full.
        """
        with translated(self.where), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def migrate(self, package: str) -> None:
        """Bring the tables to the newest revision of `package` (`services.train_svc.migrations`)."""
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        with translated(self.where), self._writer.begin() as connection:
            if not self.is_sqlite:
                # Replicas that start together take turns.
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": self.schema})
                connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"'))
            if current(connection, None if self.is_sqlite else self.schema) != newest(package):
                from services.common.db.migrations import upgrade  # noqa: PLC0415 - see `revisions`

                upgrade(connection, package, self.metadata)

    def ping(self) -> None:
        """Raise UnavailableError unless the database answers."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    @property
    def where(self) -> str:
        """The database for messages, without its password."""
        return str(self.url.database) if self.is_sqlite else self.url.render_as_string(hide_password=True)

    def _sqlite(self) -> Engine:
        engine = create_engine(self.url, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgresql(self, pool_size: int) -> Engine:
        return create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            connect_args={"options": f"-c search_path={self.schema}", "connect_timeout": 5},
        )


def _prepare_sqlite(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection
    # Transactions begin where we say (`_begin_sqlite`), not where the driver guesses.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        # Every commit is on the disk before its caller hears of it.
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-8192",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail when another wrote in between.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
