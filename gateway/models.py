"""The gateway's own tables: lifecycles, their stages, kept results, kept answers. Times are seconds since 1970."""

from sqlalchemy import Double, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(naming_convention=NAMING)


class Lifecycle(Table):
    """One application of a document."""

    __tablename__ = "lifecycles"
    __table_args__ = (Index("ix_lifecycles_project_id", "project", "id"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(128))
    spec_digest: Mapped[str] = mapped_column(String(80))
    document: Mapped[str] = mapped_column(Text)
    """The values of the document, JSON."""
    state: Mapped[str] = mapped_column(String(16), index=True)
    error: Mapped[str] = mapped_column(Text, default="")
    actor: Mapped[str] = mapped_column(String(128), default="")
    cancel_requested: Mapped[int] = mapped_column(Integer, default=0)
    running_key: Mapped[str | None] = mapped_column(String(400), unique=True)
    """Project, name and digest while it runs, else unset: what makes two applications at once one."""
    created_at: Mapped[float] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)
    stages: Mapped[list["Stage"]] = relationship(order_by="Stage.position", lazy="selectin")


class Stage(Table):
    """One stage of a lifecycle."""

    __tablename__ = "stages"

    lifecycle_id: Mapped[str] = mapped_column(ForeignKey("lifecycles.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer, default=1)
    """Counts the restarts; part of the key under which its work is submitted."""
    fresh: Mapped[int] = mapped_column(Integer, default=0)
    """1: run it even if a kept result fits."""
    input_digest: Mapped[str] = mapped_column(String(80), default="")
    job_id: Mapped[str] = mapped_column(String(64), default="")
    result: Mapped[str] = mapped_column(Text, default="")
    """JSON, once it has succeeded."""
    error: Mapped[str] = mapped_column(Text, default="")
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)


class StageResult(Table):
    """What a stage gave for given inputs, to be reused."""

    __tablename__ = "stage_results"

    project: Mapped[str] = mapped_column(String(128), primary_key=True)
    stage: Mapped[str] = mapped_column(String(16), primary_key=True)
    input_digest: Mapped[str] = mapped_column(String(80), primary_key=True)
    result: Mapped[str] = mapped_column(Text)
    lifecycle_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Double)


class Answer(Table):
    """An answer kept for a repeat of its `Idempotency-Key`."""

    __tablename__ = "answers"

    actor: Mapped[str] = mapped_column(String(128), primary_key=True)
    route: Mapped[str] = mapped_column(String(600), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(80))
    status: Mapped[int] = mapped_column(Integer, default=0)
    """0 while the first request is being answered."""
    content_type: Mapped[str] = mapped_column(String(255), default="")
    body: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    created_at: Mapped[float] = mapped_column(Double, index=True)
