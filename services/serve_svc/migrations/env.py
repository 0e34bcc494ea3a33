"""Alembic's entry; the program runs it itself."""

from services.common.db.migrations import run

run()
