"""What each part loads, and that the tables are those of the migrations."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.common.db import Database
from services.common.db.migrations import drift
from services.serve_svc.models import METADATA, SCHEMA


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("services.serve_svc.inference.command", "torch sqlalchemy celery fastapi onnx"),
        ("services.serve_svc.inference.assignments", "torch sqlalchemy celery fastapi onnx"),
        ("services.serve_svc.server", "torch onnxruntime numpy fastapi"),
        ("modelwright.serve", "onnxruntime numpy grpc sqlalchemy"),
    ],
)
def test_a_part_loads_only_its_own_libraries(module: str, absent: str) -> None:
    program = f"import sys, {module}; print([n for n in {absent.split()!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_migrations_make_the_tables(database_url: str) -> None:
    database = Database(database_url, SCHEMA, METADATA)
    database.migrate("services.serve_svc.migrations")
    with database.engine.connect() as connection:
        assert drift(connection, METADATA) == []
    database.close()


def test_a_second_start_finds_the_tables_there(tmp_path: Path) -> None:
    for _ in range(2):
        database = Database(f"sqlite:///{tmp_path / 'serve.sqlite'}", SCHEMA, METADATA)
        database.migrate("services.serve_svc.migrations")
        database.close()
