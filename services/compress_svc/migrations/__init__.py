"""Alembic revisions of compress_svc's tables."""
