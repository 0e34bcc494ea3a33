"""Write a migration from the difference between a package's tables and its revisions.

Usage: `new_migration.py services.train_svc "add a column"`; the package has `models` and `migrations`.
"""

import importlib
import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from services.common.db import Database
from services.common.db.migrations import config_of


def main() -> None:
    """Migrate an empty database to the newest revision and note what the tables lack."""
    package, message = sys.argv[1:]
    metadata = importlib.import_module(f"{package}.models").METADATA
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'empty.sqlite'}"
        Database(url, package, metadata).migrate(f"{package}.migrations")
        config = config_of(f"{package}.migrations")
        with create_engine(url).connect() as connection:
            config.attributes.update(connection=connection, metadata=metadata)
            revisions = list((Path(*package.split(".")) / "migrations" / "versions").glob("[0-9]*.py"))
            command.revision(config, message, autogenerate=True, rev_id=f"{len(revisions) + 1:04}")


if __name__ == "__main__":
    main()
