"""SQLAlchemy on SQLite and PostgreSQL: transactions, migrations, time."""

from services.common.db.database import Database

__all__ = ["Database"]
