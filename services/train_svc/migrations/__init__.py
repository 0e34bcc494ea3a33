"""Alembic revisions of train_svc's tables."""
