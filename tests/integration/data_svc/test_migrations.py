from services.common.db import Database
from services.common.db.migrations import drift
from services.data_svc.models import METADATA


def test_the_migrations_make_the_tables_that_the_models_name(database_url):
    database = Database(database_url, "data_svc", METADATA)
    database.migrate("services.data_svc.migrations")
    database.migrate("services.data_svc.migrations")
    with database.engine.connect() as connection:
        assert drift(connection, METADATA) == []
    database.close()
