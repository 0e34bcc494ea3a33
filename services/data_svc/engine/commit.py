"""From uploads to a dataset version: scan, place, split, write. All faults are told before anything is written."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from services.common.errors import StorageFullError
from services.common.records import Blobs, Record, RecordWriter, WrittenSet
from services.data_svc.engine.archives import Source
from services.data_svc.engine.findings import Findings
from services.data_svc.engine.layout import Layout, find_layout
from services.data_svc.engine.limits import ScanLimits
from services.data_svc.engine.scan import Content, Scan, scan
from services.data_svc.engine.split import SplitPolicy, divide
from services.data_svc.engine.statistics import describe_contents, describe_schema

SCAN_SHARE = 0.85
"""Part of the time that scanning takes, for the progress."""
PROGRESS_EVERY = 2048
LEAST_LABELS = 2

Progress = Callable[[float, str], None]
"""Gets the share done and what is being done; may raise to stop the commit."""


@dataclass(frozen=True, kw_only=True)
class CommitOptions:
    """What the user asked for beside the files."""

    split: SplitPolicy = field(default_factory=SplitPolicy)
    limits: ScanLimits = field(default_factory=ScanLimits)
    parent: str = ""
    """Digest of the version this one is made from."""


@dataclass(frozen=True, kw_only=True)
class Committed:
    """A dataset version in the store, not yet known by name."""

    written: WrittenSet
    schema: dict[str, Any]
    statistics: dict[str, Any]


def commit_files(
    sources: Sequence[Source], options: CommitOptions, blobs: Blobs, scratch: Path, progress: Progress
) -> Committed:
    """Check all files, divide them and write the version; the same files and options give the same digest.

    `scratch` needs room for the unpacked files and one shard.

    Raises:
        InvalidError: names every fault; nothing was written to the store.
        StorageFullError: the scratch folder or the store has no room; no version was made.
    """
    with _room(scratch), TemporaryDirectory(dir=scratch, prefix="commit-") as folder:
        spool = Path(folder) / "spool.bin"
        findings = Findings()
        found = scan(sources, spool, options.limits, findings, lambda share, files: progress(
            SCAN_SHARE * share, f"checked {files:,} files"
        ))  # fmt: skip
        records = _place(found, options, findings)
        findings.refuse()
        ordered = sorted(records, key=lambda pair: pair[0].id)
        facts = [record for record, _ in ordered]
        schema, statistics = describe_schema(facts), describe_contents(facts, sorted(findings.warnings))
        with RecordWriter(blobs, Path(folder)) as writer:
            _write(writer, ordered, spool, progress)
            written = writer.finish(schema=schema, statistics=statistics, parent=options.parent)
        progress(1.0, f"wrote {written.records:,} samples in {len(written.shards)} shards")
        return Committed(written=written, schema=schema, statistics=statistics)


def _place(found: Scan, options: CommitOptions, findings: Findings) -> list[tuple[Record, Content]]:
    if not found.files and not findings.faults:
        findings.fault("uploads", "hold no files")
    layout = find_layout(found.files, found.folders, found.tables, findings)
    _demand_unique_ids(layout, findings)
    labels = {place.label for place in layout.places.values()}
    if layout.places and len(labels) < LEAST_LABELS:
        findings.fault("labels", f"every file has the label {labels.pop()!r}; a classifier needs at least two classes")
    splits = _splits(layout, found, options.split, findings)
    return [
        (_record(found.files[path], place.id, place.label, splits.get(place.id, "")), found.files[path])
        for path, place in layout.places.items()
    ]


def _splits(layout: Layout, found: Scan, policy: SplitPolicy, findings: Findings) -> dict[str, str]:
    if layout.has_splits and not policy.fractions:
        return {place.id: place.split for place in layout.places.values()}
    if layout.has_splits:
        findings.warn("the splits of the files' own layout were replaced by the fractions that were asked for")
    samples = {place.id: (place.label, found.files[path].digest) for path, place in layout.places.items()}
    return divide(samples, policy, findings) if samples else {}


def _demand_unique_ids(layout: Layout, findings: Findings) -> None:
    seen: set[str] = set()
    for place in layout.places.values():
        if place.id in seen:
            findings.fault(place.id, "comes twice; give every sample its own name")
        seen.add(place.id)


def _record(content: Content, name: str, label: str, split: str) -> Record:
    return Record(
        id=name,
        split=split,
        labels=(label,),
        media_type=content.media_type,
        digest=content.digest,
        length=content.length,
        shape=content.shape,
    )


def _write(writer: RecordWriter, ordered: Sequence[tuple[Record, Content]], spool: Path, progress: Progress) -> None:
    with spool.open("rb") as file:
        for number, (record, content) in enumerate(ordered):
            file.seek(content.offset)
            writer.add(record, file.read(content.length))
            if number % PROGRESS_EVERY == 0:
                progress(SCAN_SHARE + (1 - SCAN_SHARE) * number / len(ordered), f"wrote {number:,} samples")


@contextmanager
def _room(scratch: Path) -> Iterator[None]:
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFullError(
            f"no room is left in {scratch} to commit the dataset; nothing was committed: free space or point "
            "MODELWRIGHT_HOME elsewhere"
        ) from error
