"""Alembic revisions of data_svc's tables."""
