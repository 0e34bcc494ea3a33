"""What the service keeps: uploads and versions, as plain data. Times are seconds since 1970."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class UploadState(StrEnum):
    """Whether an upload still takes bytes."""

    OPEN = "open"
    COMPLETE = "complete"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One file on its way to a version."""

    id: str
    project: str
    filename: str
    size: int
    """Declared bytes."""
    received: int = 0
    """Bytes recorded without a gap."""
    state: UploadState = UploadState.OPEN
    digest: str = ""
    """As declared; empty if the client gave none."""
    verified: bool = False
    """Whether the bytes were seen to have that digest."""
    created_at: float = 0.0
    touched_at: float = 0.0
    """Last time that a part, a commit or a new client used it."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A blob of a version."""

    path: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Version:
    """An immutable dataset version."""

    project: str
    name: str
    digest: str
    """Digest of the manifest."""
    samples: int
    bytes: int
    files: tuple[File, ...]
    """Manifest first, then shards."""
    schema: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, Any] = field(default_factory=dict)
    parent: str = ""
    number: int = 0
    """1, 2, 3 ... within the dataset; 0 while it has none."""
    created_at: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A name with versions."""

    project: str
    name: str
    latest: Version
    versions: int
