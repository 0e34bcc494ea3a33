import threading
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, text

from services.common.db import Database
from services.common.errors import UnavailableError

METADATA = MetaData()
NUMBERS = Table("numbers", METADATA, Column("value", Integer, primary_key=True))


@pytest.fixture
def database(database_url):
    database = Database(database_url, "test_svc", METADATA)
    if not database.is_sqlite:
        with database.write() as session:
            session.execute(text("CREATE SCHEMA test_svc"))
    METADATA.create_all(database.engine)
    yield database
    database.close()


def values(database: Database) -> list[int]:
    with database.read() as session:
        return list(session.scalars(select(NUMBERS.c.value).order_by(NUMBERS.c.value)))


def test_a_block_that_ends_keeps_its_changes(database):
    with database.write() as session:
        session.execute(insert(NUMBERS), [{"value": 1}, {"value": 2}])
    assert values(database) == [1, 2]


def break_off(database: Database) -> None:
    with database.write() as session:
        session.execute(insert(NUMBERS).values(value=1))
        raise KeyError("broken off")


def test_a_block_that_fails_keeps_nothing(database):
    with pytest.raises(KeyError):
        break_off(database)
    assert values(database) == []


def test_writers_at_once_lose_nothing(database):
    with database.write() as session:
        session.execute(insert(NUMBERS).values(value=0))

    def count() -> None:
        for _ in range(20):
            with database.write() as session:
                session.execute(NUMBERS.update().values(value=NUMBERS.c.value + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(database) == [80]


def test_a_reader_does_not_wait_for_a_writer(database):
    with database.write() as session:
        session.execute(insert(NUMBERS).values(value=5))
        assert values(database) == []
    assert values(database) == [5]


def test_a_reader_sees_one_state_to_its_end(database):
    with database.read() as session:
        assert session.scalars(select(NUMBERS.c.value)).all() == []
        with database.write() as writer:
            writer.execute(insert(NUMBERS).values(value=7))
        assert session.scalars(select(NUMBERS.c.value)).all() == []


def test_tables_live_in_the_services_own_schema(postgres_url):
    database = Database(postgres_url, "test_svc", METADATA)
    with database.write() as session:
        session.execute(text("CREATE SCHEMA test_svc"))
    METADATA.create_all(database.engine)
    with database.read() as session:
        where = session.scalar(text("SELECT table_schema FROM information_schema.tables WHERE table_name='numbers'"))
    assert where == "test_svc"


def test_a_database_that_is_away_is_named_without_its_password():
    database = Database("postgresql+psycopg://user:secret@127.0.0.1:1/x", "test_svc", METADATA)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1/x does not answer") as caught:
        database.ping()
    assert "secret" not in caught.value.message


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "d.sqlite").write_bytes(b"no database" * 1000)
    database = Database(f"sqlite:///{tmp_path / 'd.sqlite'}", "train_svc", MetaData())
    with pytest.raises(UnavailableError, match=r"d\.sqlite is damaged .*restore it"):
        database.ping()
