"""Deployments, revisions, servers and their reports."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("project", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("model_ref", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("deleted_at", sa.Double),
    )
    alive = sa.text("deleted_at IS NULL")
    op.create_index(
        "deployments_name", "deployments", ["name"], unique=True, sqlite_where=alive, postgresql_where=alive
    )
    create_revisions()
    op.create_table(
        "servers",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("rest_url", sa.Text, nullable=False),
        sa.Column("grpc_address", sa.Text, nullable=False),
        sa.Column("stream", sa.String(40), nullable=False),
        sa.Column("live_until", sa.Double, nullable=False),
    )
    op.create_table(
        "reports",
        sa.Column("server", sa.String(200), primary_key=True),
        sa.Column("revision_id", sa.String(40), sa.ForeignKey("revisions.id"), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )


def create_revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("deployment_id", sa.String(40), sa.ForeignKey("deployments.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("model_name", sa.String(128), nullable=False),
        sa.Column("model_digest", sa.String(71), nullable=False),
        sa.Column("model_number", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("dataset_digest", sa.String(71), nullable=False),
        sa.Column("files", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("options_json", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("activated_at", sa.Double),
        sa.UniqueConstraint("deployment_id", "number", name="revisions_number"),
    )


def downgrade() -> None:
    for table in ("reports", "servers", "revisions", "deployments"):
        op.drop_table(table)
