"""Tables of serve_svc."""

import sqlalchemy as sa

SCHEMA = "serve_svc"
METADATA = sa.MetaData()

DEPLOYMENTS = sa.Table(
    "deployments",
    METADATA,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("project", sa.String(128), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("model_ref", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    # Kept for the lineage of predictions made before; null while it lives.
    sa.Column("deleted_at", sa.Double),
    # The name is the model's name in the inference protocol, which knows no projects.
    sa.Index(
        "deployments_name",
        "name",
        unique=True,
        sqlite_where=sa.text("deleted_at IS NULL"),
        postgresql_where=sa.text("deleted_at IS NULL"),
    ),
)

REVISIONS = sa.Table(
    "revisions",
    METADATA,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("deployment_id", sa.String(40), sa.ForeignKey("deployments.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("model_name", sa.String(128), nullable=False),
    sa.Column("model_digest", sa.String(71), nullable=False),
    sa.Column("model_number", sa.Integer, nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("dataset_digest", sa.String(71), nullable=False),
    # [[path, digest, size], ...]
    sa.Column("files", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("options_json", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("activated_at", sa.Double),
    sa.UniqueConstraint("deployment_id", "number", name="revisions_number"),
)

SERVERS = sa.Table(
    "servers",
    METADATA,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("rest_url", sa.Text, nullable=False),
    sa.Column("grpc_address", sa.Text, nullable=False),
    # The stream that speaks for the server; an older one that ends late says nothing of it.
    sa.Column("stream", sa.String(40), nullable=False),
    sa.Column("live_until", sa.Double, nullable=False),
)

REPORTS = sa.Table(
    "reports",
    METADATA,
    sa.Column("server", sa.String(200), primary_key=True),
    sa.Column("revision_id", sa.String(40), sa.ForeignKey("revisions.id"), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("error", sa.Text, nullable=False),
)
