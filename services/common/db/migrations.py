"""Alembic, run from the program itself: each service keeps its revisions in its own package."""

from alembic import command, context
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from services.common.db.revisions import TABLE, folder_of


def upgrade(connection: Connection, package: str, metadata: MetaData) -> None:
    """Bring the connection's schema to the newest revision, inside the caller's transaction."""
    config = config_of(package)
    config.attributes.update(connection=connection, metadata=metadata)
    command.upgrade(config, "head")


def config_of(package: str) -> Config:
    """Return the Alembic configuration of `services.x.migrations`."""
    config = Config()
    config.set_main_option("script_location", folder_of(package))
    return config


def run() -> None:
    """Run what Alembic was asked for; every `env.py` calls this and nothing else."""
    attributes = context.config.attributes
    context.configure(
        connection=attributes["connection"],
        target_metadata=attributes["metadata"],
        version_table=TABLE,
        render_as_batch=True,
        compare_type=True,
    )
    context.run_migrations()


def drift(connection: Connection, metadata: MetaData) -> list[object]:
    """Return how the tables differ from `metadata`; empty if the migrations are complete."""
    migration = MigrationContext.configure(
        connection,
        opts={"version_table": TABLE, "compare_type": True, "include_object": lambda o, *_: o.name != TABLE},
    )
    return list(compare_metadata(migration, metadata))
