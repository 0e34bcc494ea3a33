"""The tables of jobs, made in each service's own metadata."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, String, Table, Text
from sqlalchemy import UniqueConstraint as Unique


@dataclass(frozen=True, kw_only=True)
class JobTables:
    """Jobs, the lines they wrote, and the workers that take them."""

    jobs: Table
    lines: Table
    workers: Table


def job_tables(metadata: MetaData) -> JobTables:
    """Add the three tables to a service's metadata."""
    return JobTables(jobs=_jobs(metadata), lines=_lines(metadata), workers=_workers(metadata))


def _jobs(metadata: MetaData) -> Table:
    return Table(
        "jobs",
        metadata,
        Column("id", String(40), primary_key=True),
        Column("project", String(128), nullable=False),
        Column("kind", String(40), nullable=False),
        Column("queue", String(40), nullable=False),
        Column("state", String(16), nullable=False),
        Column("subject", String(200), nullable=False),
        Column("idempotency_key", String(200)),
        Column("priority", Integer, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("progress", Double, nullable=False),
        Column("eta_s", Double),
        Column("message", Text, nullable=False),
        Column("error", Text, nullable=False),
        Column("worker", String(200), nullable=False),
        Column("cancel_requested", Boolean, nullable=False),
        Column("preempt_requested", Boolean, nullable=False),
        Column("spec", Text, nullable=False),
        Column("result", Text),
        # Fencing: grows with every claim and every loss of the lease.
        Column("token", Integer, nullable=False),
        Column("lease_until", Double, nullable=False),
        # When the bell was last rung.
        Column("rung_at", Double, nullable=False),
        # How many times the job came back because its worker was lost.
        Column("losses", Integer, nullable=False),
        # Lines kept of all attempts, and lines received of this one.
        Column("line_count", BigInteger, nullable=False),
        Column("attempt_lines", BigInteger, nullable=False),
        Column("created_at", Double, nullable=False),
        Column("started_at", Double, nullable=False),
        Column("finished_at", Double, nullable=False),
        Unique("project", "kind", "idempotency_key", name="uq_jobs_idempotency_key"),
        Index("ix_jobs_next", "state", "queue", "priority", "created_at"),
        Index("ix_jobs_created", "created_at", "id"),
        Index("ix_jobs_subject", "subject"),
    )


def _lines(metadata: MetaData) -> Table:
    return Table(
        "job_lines",
        metadata,
        Column("job_id", String(40), primary_key=True),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("time", Double, nullable=False),
        Column("stream", String(8), nullable=False),
        Column("text", Text, nullable=False),
    )


def _workers(metadata: MetaData) -> Table:
    return Table(
        "workers",
        metadata,
        Column("name", String(200), primary_key=True),
        Column("queues", Text, nullable=False),
        Column("slots", Integer, nullable=False),
        Column("busy_slots", Integer, nullable=False),
        Column("hardware", Text, nullable=False),
        Column("seen_at", Double, nullable=False),
    )
