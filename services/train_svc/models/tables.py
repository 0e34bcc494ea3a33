"""The tables. Runs and names are integers wherever points refer to them, so that a point is a few bytes."""

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy import UniqueConstraint as Unique

from services.common.jobs import job_tables

SCHEMA = "train_svc"
METADATA = MetaData()
JOBS = job_tables(METADATA)

HEAD_CHARS = 250
"""Characters of a parameter or tag that are indexed; PostgreSQL's B-trees take no more than 2,704 bytes a row."""

# SQLite's own row number, which counts up in the order of creation.
Key = BigInteger().with_variant(Integer, "sqlite")

runs = Table(
    "runs",
    METADATA,
    Column("key", Key, primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("project", String(128), nullable=False),
    Column("name", String(200), nullable=False),
    Column("state", String(16), nullable=False),
    Column("dataset_digest", String(71), nullable=False),
    Column("engine", String(40), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("environment_json", Text, nullable=False),
    Column("hardware_json", Text, nullable=False),
    Column("spec_json", Text, nullable=False),
    Column("job_id", String(40), nullable=False),
    Column("error", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double, nullable=False),
    Column("idempotency_key", String(200)),
    # What was asked for under the key, so that another request under it is told apart.
    Column("request_digest", String(71), nullable=False),
    Unique("project", "idempotency_key", name="uq_runs_idempotency_key"),
    Index("ix_runs_project", "project", "key"),
    Index("ix_runs_state", "project", "state", "key"),
    Index("ix_runs_name", "project", "name", "key"),
    Index("ix_runs_dataset", "project", "dataset_digest", "key"),
    sqlite_autoincrement=True,
)

# Names of metrics, parameters and tags. They belong to a project, so an index that begins with a name never
# visits another project's runs.
names = Table(
    "names",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("project", String(128), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("name", String(250), nullable=False),
    Unique("project", "kind", "name", name="uq_names"),
)

# Parameters and tags; which of them is said by the name.
run_values = Table(
    "run_values",
    METADATA,
    Column("run_key", Key, primary_key=True, autoincrement=False),
    Column("name_id", Integer, primary_key=True, autoincrement=False),
    # The first HEAD_CHARS of the value.
    Column("head", String(HEAD_CHARS), nullable=False),
    Column("value", Text, nullable=False),
    Index("ix_run_values_search", "name_id", "head", "run_key"),
    sqlite_with_rowid=False,
)

# Every point ever logged. The primary key is the table itself on SQLite (WITHOUT ROWID), and there is no second
# index: a point costs one B-tree insert, next to the one before it.
metric_points = Table(
    "metric_points",
    METADATA,
    Column("run_key", Key, primary_key=True, autoincrement=False),
    Column("name_id", Integer, primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    # NULL is NaN: SQLite keeps no NaN, and PostgreSQL holds it greater than every number.
    Column("value", Double),
    Column("time", Double, nullable=False),
    sqlite_with_rowid=False,
)

# The point at the highest step of each (run, name): what a run shows, and what searches look at.
metric_last = Table(
    "metric_last",
    METADATA,
    Column("run_key", Key, primary_key=True, autoincrement=False),
    Column("name_id", Integer, primary_key=True, autoincrement=False),
    Column("step", BigInteger, nullable=False),
    Column("value", Double),
    Column("time", Double, nullable=False),
    # Counts the batches that brought points at or before `step`, and where the last of them began: from these a
    # watcher of any replica knows what to read again.
    Column("rewinds", Integer, nullable=False),
    Column("rewound_step", BigInteger, nullable=False),
    Index("ix_metric_last_search", "name_id", "value", "run_key"),
    sqlite_with_rowid=False,
)

checkpoint_files = Table(
    "checkpoint_files",
    METADATA,
    Column("run_key", Key, primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("path", String(500), primary_key=True),
    Column("digest", String(71), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
)

artifact_files = Table(
    "artifact_files",
    METADATA,
    Column("run_key", Key, primary_key=True, autoincrement=False),
    Column("path", String(500), primary_key=True),
    Column("digest", String(71), nullable=False),
    Column("size", BigInteger, nullable=False),
)

model_versions = Table(
    "model_versions",
    METADATA,
    Column("key", Key, primary_key=True),
    Column("project", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(71), nullable=False),
    Column("parent", String(71), nullable=False),
    Column("run_id", String(40), nullable=False),
    Column("dataset_digest", String(71), nullable=False),
    Column("variant", String(40), nullable=False),
    Column("card_json", Text, nullable=False),
    Column("signature_json", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Unique("project", "name", "number", name="uq_model_versions_number"),
    Unique("project", "name", "digest", name="uq_model_versions_digest"),
    Index("ix_model_versions_digest", "project", "digest"),
    Index("ix_model_versions_parent", "project", "parent"),
    Index("ix_model_versions_run", "run_id"),
    Index("ix_model_versions_dataset", "project", "dataset_digest"),
    sqlite_autoincrement=True,
)

# One row a model: locked while its versions or aliases change. It outlives its versions, so that a number is
# never given twice.
models = Table(
    "models",
    METADATA,
    Column("project", String(128), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("last_number", Integer, nullable=False),
)

package_files = Table(
    "package_files",
    METADATA,
    Column("version_key", Key, ForeignKey("model_versions.key", ondelete="CASCADE"), primary_key=True),
    Column("path", String(500), primary_key=True),
    Column("digest", String(71), nullable=False),
    Column("size", BigInteger, nullable=False),
)

aliases = Table(
    "aliases",
    METADATA,
    Column("project", String(128), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("alias", String(128), primary_key=True),
    Column("digest", String(71), nullable=False),
)

alias_events = Table(
    "alias_events",
    METADATA,
    Column("key", Key, primary_key=True),
    Column("project", String(128), nullable=False),
    Column("name", String(128), nullable=False),
    Column("alias", String(128), nullable=False),
    Column("from_digest", String(71), nullable=False),
    Column("to_digest", String(71), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("time", Double, nullable=False),
    Index("ix_alias_events_model", "project", "name", "key"),
    sqlite_autoincrement=True,
)
