"""The gateway's tables on SQLite and PostgreSQL: what the migrations make is what the code expects."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.lifecycles import repository
from gateway.lifecycles.document import parse_yaml
from gateway.lifecycles.frame import read_frame
from gateway.models import Table
from services.common.db import Database
from services.common.db.migrations import drift
from services.common.errors import BusyError

TEXT = "name: digits\ndata: {dataset: 'digits:1'}\n"


@pytest.fixture
def database(database_url: str) -> Database:
    made = Database(database_url, "gateway", Table.metadata)
    made.migrate("gateway.migrations")
    return made


def apply(database: Database, text: str = TEXT, limit: int = 10) -> tuple[str, bool]:
    with database.write() as session:
        row, created = repository.create(
            session, read_frame(parse_yaml(text), "default", with_source=False), actor="me", limit=limit
        )
        return row.id, created


def test_the_migrations_make_the_tables_that_the_code_expects(database: Database) -> None:
    with database.engine.connect() as connection:
        assert drift(connection, Table.metadata) == []


def test_applications_at_once_begin_one_lifecycle(database: Database) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: apply(database), range(6)))
    assert len({lifecycle_id for lifecycle_id, _ in found}) == 1
    assert sum(created for _, created in found) == 1


def test_what_has_ended_may_begin_again_and_too_many_at_once_wait(database: Database) -> None:
    first, _ = apply(database, limit=1)
    with pytest.raises(BusyError):
        apply(database, TEXT + "train: {}\n", limit=1)
    with database.write() as session:
        repository.end(session, first, "failed", "for a test")
    second, created = apply(database, limit=1)
    assert created
    assert second != first
