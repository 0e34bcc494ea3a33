"""The manifest: one Arrow IPC file that names every record and where its bytes lie."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from services.common.errors import InvalidError

FORMAT = 1
ROWS_PER_BATCH = 1 << 16

COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("media_type", pa.string()),
        ("shard", pa.int32()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("digest", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("duration_s", pa.float64()),
    ]
)


class Blobs(Protocol):
    """What record sets need of a content-addressed store; `services.common.storage.BlobStore` is one."""

    def put_file(self, path: Path) -> str:
        """Store the file's bytes and return their digest."""

    def read_range(self, digest: str, offset: int, length: int) -> bytes:
        """Return `length` bytes of the blob from `offset`."""

    def fetch(self, digest: str, target: Path) -> Any:  # noqa: ANN401 - what a store returns is not used
        """Write the blob to `target`, verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of a set, without its bytes."""

    id: str
    """Unique within the set; a relative path in most sets."""
    split: str = ""
    """`train`, `validation`, `test` or any other name; empty: none."""
    labels: tuple[str, ...] = ()
    """Names of the classes it belongs to."""
    media_type: str = "application/octet-stream"
    """IANA media type of the bytes."""
    digest: str = ""
    """`sha256:<hex>` of the bytes."""
    length: int = 0
    """Bytes."""
    shape: tuple[int, ...] = ()
    """Height, width and channels of a picture; empty where there is no shape."""
    duration_s: float = 0.0
    """Seconds of sound; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One blob of concatenated records."""

    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the manifest says beside its rows."""

    shards: tuple[Shard, ...]
    schema: dict[str, Any] = field(default_factory=dict)
    """Media type, labels, splits and shape of the set."""
    statistics: dict[str, Any] = field(default_factory=dict)
    """Counts of the set."""
    parent: str = ""
    """Digest of the manifest this one was made from; may be empty."""


def write_manifest(path: Path, table: pa.Table, manifest: Manifest) -> None:
    """Write rows and metadata; equal input gives equal bytes."""
    metadata = {
        "format": FORMAT,
        "shards": [[shard.digest, shard.size] for shard in manifest.shards],
        "schema": manifest.schema,
        "statistics": manifest.statistics,
        "parent": manifest.parent,
    }
    schema = COLUMNS.with_metadata({name: _json(value) for name, value in metadata.items()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table.cast(schema), max_chunksize=ROWS_PER_BATCH)


def read_manifest(path: Path) -> tuple[pa.Table, Manifest]:
    """Return the rows (mapped, not copied) and the metadata.

    Raises:
        InvalidError: the file is no manifest, or of a newer format.
    """
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path), "r")).read_all()
        facts = {name.decode(): json.loads(value) for name, value in (table.schema.metadata or {}).items()}
        if facts["format"] != FORMAT:
            raise InvalidError(f"the manifest has format {facts['format']}, this program reads {FORMAT}; update it")
        table = table.select(COLUMNS.names)
        shards = tuple(Shard(digest, size) for digest, size in facts["shards"])
        return table, Manifest(
            shards=shards, schema=facts["schema"], statistics=facts["statistics"], parent=facts["parent"]
        )
    except (pa.ArrowInvalid, KeyError, ValueError, TypeError) as error:
        raise InvalidError(f"the blob is not a dataset manifest: {error}") from error


def to_table(records: Iterable[Record], places: Iterable[tuple[int, int]]) -> pa.Table:
    """Return one row for each record and its (shard, offset)."""
    rows = list(records)
    shards, offsets = zip(*places, strict=True) if rows else ((), ())
    columns = {
        "id": [row.id for row in rows],
        "split": [row.split for row in rows],
        "labels": [row.labels for row in rows],
        "media_type": [row.media_type for row in rows],
        "shard": shards,
        "offset": offsets,
        "length": [row.length for row in rows],
        "digest": [row.digest for row in rows],
        "shape": [row.shape for row in rows],
        "duration_s": [row.duration_s for row in rows],
    }
    return pa.table({name: pa.array(columns[name], type=COLUMNS.field(name).type) for name in COLUMNS.names})


def _json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
