"""Alembic's entry."""

from services.common.db import migrations

migrations.run()
