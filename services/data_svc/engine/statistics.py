"""What a dataset version says about its samples."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from services.common.records import Record

MAX_SHAPES = 20
MAX_WARNINGS = 100


def describe_schema(records: Sequence[Record]) -> dict[str, Any]:
    """Return media type, labels, splits and shape; a dimension that differs is -1."""
    media_types = {record.media_type for record in records}
    families = {media_type.split("/")[0] for media_type in media_types}
    common = f"{families.pop()}/*" if len(families) == 1 else "application/octet-stream"
    return {
        "media_type": media_types.pop() if len(media_types) == 1 else common,
        "labels": sorted({label for record in records for label in record.labels}),
        "splits": dict(sorted(Counter(record.split for record in records).items())),
        "shape": _common_shape({record.shape for record in records}),
    }


def describe_contents(records: Sequence[Record], warnings: list[str]) -> dict[str, Any]:
    """Return counts by split, label, shape and media type, bytes, copies and warnings."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        table[record.split].update(record.labels)
    shapes = Counter(record.shape for record in records)
    lengths = [record.length for record in records]
    return {
        "samples": len(records),
        "bytes": sum(lengths),
        "smallest_bytes": min(lengths),
        "largest_bytes": max(lengths),
        "splits": dict(sorted(Counter(record.split for record in records).items())),
        "labels": dict(sorted(Counter(label for record in records for label in record.labels).items())),
        "split_labels": {split: dict(sorted(labels.items())) for split, labels in sorted(table.items())},
        "media_types": dict(sorted(Counter(record.media_type for record in records).items())),
        "shapes": [
            {"shape": list(shape), "samples": count}
            for shape, count in sorted(shapes.items(), key=lambda item: (-item[1], item[0]))[:MAX_SHAPES]
        ],
        "copies": len(records) - len({record.digest for record in records}),
        "warnings": [*warnings[:MAX_WARNINGS], *_table_warnings(table), *_copy_warnings(records)],
    }


def _common_shape(shapes: set[tuple[int, ...]]) -> list[int]:
    if len({len(shape) for shape in shapes}) != 1:
        return []
    return [sizes[0] if len(set(sizes)) == 1 else -1 for sizes in zip(*shapes, strict=True)]


def _table_warnings(table: dict[str, Counter[str]]) -> list[str]:
    labels = {label for counts in table.values() for label in counts}
    return [
        f"split {split} has no sample of {', '.join(sorted(labels - counts.keys()))}"
        for split, counts in sorted(table.items())
        if labels - counts.keys()
    ]


def _copy_warnings(records: Sequence[Record]) -> list[str]:
    splits: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for record in records:
        splits[record.digest].add(record.split)
        labels[record.digest].add(record.labels)
    leaks = sum(len(found) > 1 for found in splits.values())
    quarrels = sum(len(found) > 1 for found in labels.values())
    warnings = []
    if leaks:
        warnings.append(f"{leaks} samples lie with the same bytes in more than one split: figures on them mean little")
    if quarrels:
        warnings.append(f"{quarrels} samples lie with the same bytes under different labels")
    return warnings
