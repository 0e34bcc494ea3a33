"""Tables of the data service."""

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text

from services.common.jobs import job_tables

METADATA = MetaData()

JOB_TABLES = job_tables(METADATA)

UPLOADS = Table(
    "uploads",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("project", String(128), nullable=False),
    Column("filename", String(1024), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("digest", String(71), nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("touched_at", Double, nullable=False),
    Index("ix_uploads_digest", "project", "digest"),
    Index("ix_uploads_touched", "touched_at"),
)

UPLOAD_PARTS = Table(
    "upload_parts",
    METADATA,
    Column("upload_id", ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", String(71), nullable=False),
)

# Uploads that a queued or running commit needs.
UPLOAD_USES = Table(
    "upload_uses",
    METADATA,
    Column("upload_id", ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    Column("job_id", String(40), primary_key=True),
    Index("ix_upload_uses_job", "job_id"),
)

# A row stays when its versions are gone, so that numbers are never given twice.
DATASETS = Table(
    "datasets",
    METADATA,
    Column("project", String(128), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("last_number", Integer, nullable=False),
)

VERSIONS = Table(
    "versions",
    METADATA,
    Column("project", String(128), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(71), nullable=False),
    Column("parent", String(71), nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("files", Text, nullable=False),
    Column("schema", Text, nullable=False),
    Column("statistics", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("uq_versions_digest", "project", "name", "digest", unique=True),
    Index("ix_versions_digest", "project", "digest"),
)
