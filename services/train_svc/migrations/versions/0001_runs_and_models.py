"""Runs, metrics, checkpoints, models and jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    create_runs()
    create_points()
    create_files()
    create_versions()
    create_aliases()
    create_jobs()
    create_job_records()


def downgrade() -> None:
    for table in (
        "workers",
        "job_lines",
        "jobs",
        "alias_events",
        "aliases",
        "package_files",
        "model_versions",
        "models",
        "artifact_files",
        "checkpoint_files",
        "metric_last",
        "metric_points",
        "run_values",
        "names",
        "runs",
    ):
        op.drop_table(table)


def create_runs() -> None:
    """Runs, and the names, parameters and tags that they are found by."""
    op.create_table(
        "runs",
        sa.Column("key", KEY, nullable=False),
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("dataset_digest", sa.String(length=71), nullable=False),
        sa.Column("engine", sa.String(length=40), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("environment_json", sa.Text(), nullable=False),
        sa.Column("hardware_json", sa.Text(), nullable=False),
        sa.Column("spec_json", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("request_digest", sa.String(length=71), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("project", "idempotency_key", name="uq_runs_idempotency_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_dataset", "runs", ["project", "dataset_digest", "key"], unique=False)
    op.create_index("ix_runs_name", "runs", ["project", "name", "key"], unique=False)
    op.create_index("ix_runs_project", "runs", ["project", "key"], unique=False)
    op.create_index("ix_runs_state", "runs", ["project", "state", "key"], unique=False)
    op.create_table(
        "names",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=250), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project", "kind", "name", name="uq_names"),
    )
    op.create_table(
        "run_values",
        sa.Column("run_key", KEY, autoincrement=False, nullable=False),
        sa.Column("name_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("head", sa.String(length=250), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_key", "name_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_values_search", "run_values", ["name_id", "head", "run_key"], unique=False)


def create_points() -> None:
    """Every point, and the last of each metric."""
    op.create_table(
        "metric_points",
        sa.Column("run_key", KEY, autoincrement=False, nullable=False),
        sa.Column("name_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("time", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_key", "name_id", "step"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metric_last",
        sa.Column("run_key", KEY, autoincrement=False, nullable=False),
        sa.Column("name_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("rewinds", sa.Integer(), nullable=False),
        sa.Column("rewound_step", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_key", "name_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_metric_last_search", "metric_last", ["name_id", "value", "run_key"], unique=False)


def create_files() -> None:
    """Checkpoints and artifacts."""
    op.create_table(
        "checkpoint_files",
        sa.Column("run_key", KEY, autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("run_key", "step", "path"),
    )
    op.create_table(
        "artifact_files",
        sa.Column("run_key", KEY, autoincrement=False, nullable=False),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_key", "path"),
    )


def create_versions() -> None:
    """Models, their immutable versions and the packages' files."""
    op.create_table(
        "models",
        sa.Column("project", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project", "name"),
    )
    op.create_table(
        "model_versions",
        sa.Column("key", KEY, nullable=False),
        sa.Column("project", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("parent", sa.String(length=71), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("dataset_digest", sa.String(length=71), nullable=False),
        sa.Column("variant", sa.String(length=40), nullable=False),
        sa.Column("card_json", sa.Text(), nullable=False),
        sa.Column("signature_json", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sa.UniqueConstraint("project", "name", "digest", name="uq_model_versions_digest"),
        sa.UniqueConstraint("project", "name", "number", name="uq_model_versions_number"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_model_versions_dataset", "model_versions", ["project", "dataset_digest"], unique=False)
    op.create_index("ix_model_versions_digest", "model_versions", ["project", "digest"], unique=False)
    op.create_index("ix_model_versions_parent", "model_versions", ["project", "parent"], unique=False)
    op.create_index("ix_model_versions_run", "model_versions", ["run_id"], unique=False)
    op.create_table(
        "package_files",
        sa.Column("version_key", KEY, nullable=False),
        sa.Column("path", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["version_key"], ["model_versions.key"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("version_key", "path"),
    )


def create_aliases() -> None:
    """Aliases and who moved them."""
    op.create_table(
        "aliases",
        sa.Column("project", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("alias", sa.String(length=128), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", "alias"),
    )
    op.create_table(
        "alias_events",
        sa.Column("key", KEY, nullable=False),
        sa.Column("project", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("alias", sa.String(length=128), nullable=False),
        sa.Column("from_digest", sa.String(length=71), nullable=False),
        sa.Column("to_digest", sa.String(length=71), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alias_events_model", "alias_events", ["project", "name", "key"], unique=False)


def create_jobs() -> None:
    """The job tables of `services.common.jobs`."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("project", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("queue", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("eta_s", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("preempt_requested", sa.Boolean(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("rung_at", sa.Double(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("line_count", sa.BigInteger(), nullable=False),
        sa.Column("attempt_lines", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project", "kind", "idempotency_key", name="uq_jobs_idempotency_key"),
    )
    op.create_index("ix_jobs_created", "jobs", ["created_at", "id"], unique=False)
    op.create_index("ix_jobs_next", "jobs", ["state", "queue", "priority", "created_at"], unique=False)
    op.create_index("ix_jobs_subject", "jobs", ["subject"], unique=False)


def create_job_records() -> None:
    """What jobs wrote, and the workers."""
    op.create_table(
        "job_lines",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("stream", sa.String(length=8), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "seq"),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("queues", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("busy_slots", sa.Integer(), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
