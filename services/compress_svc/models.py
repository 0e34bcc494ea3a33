"""Plain data and tables of compressions. Times are seconds since 1970."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text

from services.common.jobs import job_tables

VERDICTS = ("pays", "does not pay", "failed")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A child that was made, or why it was not."""

    name: str
    """The recipe's name for it."""
    digest: str = ""
    """Of the child version; empty if it failed."""
    card: dict[str, Any] = field(default_factory=dict)
    """Its report card."""
    verdict: str = "failed"
    """One of VERDICTS."""
    reason: str = ""
    """The verdict's, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Compression:
    """A recipe carried out on a model version."""

    id: str
    project: str
    model_name: str
    parent: str
    """Digest of the version to compress."""
    dataset_digest: str
    recipe: dict[str, Any]
    """All defaults written out."""
    job_id: str = ""
    created_at: float = 0.0
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A model version, as far as a compression needs it."""

    name: str
    digest: str
    files: tuple[str, ...] = ()
    """Digests of the package's files."""


@dataclass(frozen=True, kw_only=True)
class DatasetRef:
    """A dataset version, as far as a compression needs it."""

    digest: str
    files: tuple[str, ...] = ()
    """Digests of manifest and shards."""
    splits: tuple[str, ...] = ()
    """Names of its splits that hold samples."""


METADATA = MetaData()
JOBS = job_tables(METADATA)

COMPRESSIONS = Table(
    "compressions",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("project", String(128), nullable=False),
    Column("model_name", String(128), nullable=False),
    Column("parent", String(71), nullable=False),
    Column("dataset_digest", String(71), nullable=False),
    Column("recipe", Text, nullable=False),
    Column("job_id", String(40), nullable=False),
    # The blobs that the work reads are needed until its job has ended.
    Column("active", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_compressions_project", "project", "created_at", "id"),
    Index("ix_compressions_created", "created_at", "id"),
)

VARIANTS = Table(
    "variants",
    METADATA,
    Column("compression_id", String(40), ForeignKey("compressions.id"), primary_key=True),
    Column("name", String(128), primary_key=True),
    # Place in the order in which they were recorded.
    Column("place", Integer, nullable=False),
    Column("digest", String(71), nullable=False),
    Column("card", Text, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("reason", Text, nullable=False),
)

NEEDED_BLOBS = Table(
    "needed_blobs",
    METADATA,
    Column("compression_id", String(40), ForeignKey("compressions.id"), primary_key=True),
    Column("digest", String(71), primary_key=True),
)
