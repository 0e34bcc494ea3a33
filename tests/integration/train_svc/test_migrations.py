"""The migrations and the tables say the same, on both databases."""

from services.common.db import Database
from services.common.db.migrations import drift
from services.train_svc.__main__ import MIGRATIONS
from services.train_svc.models import METADATA, SCHEMA


def test_the_migrated_tables_are_those_of_the_metadata(database_url: str) -> None:
    database = Database(database_url, SCHEMA, METADATA)
    database.migrate(MIGRATIONS)
    with database.engine.connect() as connection:
        assert drift(connection, METADATA) == []
    database.close()


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    database = Database(database_url, SCHEMA, METADATA)
    database.migrate(MIGRATIONS)
    database.migrate(MIGRATIONS)
    with database.engine.connect() as connection:
        assert drift(connection, METADATA) == []
    database.close()
