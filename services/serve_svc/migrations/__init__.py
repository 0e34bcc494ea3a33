"""Alembic revisions of serve_svc's tables."""
