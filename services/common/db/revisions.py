"""Which revision a schema is at, and which is the newest; known without loading Alembic.

Alembic takes half a second and 20 MB to import, and a start that finds nothing to migrate needs none of it.
"""

import importlib.util
from pathlib import Path

from sqlalchemy import Connection, inspect, text

TABLE = "schema_revisions"
"""Where Alembic notes the revision that the tables are at."""


def folder_of(package: str) -> str:
    """Return the folder of `services.x.migrations`."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not a package with migrations")
    return spec.submodule_search_locations[0]


def newest(package: str) -> str:
    """Return the package's newest revision: files are named `NNNN_what_it_does.py`, in their order."""
    return max(path.name[:4] for path in (Path(folder_of(package)) / "versions").glob("[0-9]*.py"))


def current(connection: Connection, schema: str | None) -> str:
    """Return the revision that the schema is at; empty for a schema that has none."""
    if not inspect(connection).has_table(TABLE, schema=schema):
        return ""
    return str(connection.scalar(text(f"SELECT version_num FROM {TABLE}")) or "")
