"""Looks into committed versions: samples by page and one by one."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from services.common.records import Record, RecordSet
from services.common.storage import BlobStore

KEPT_SETS = 8


class SampleReader:
    """Opens versions by digest and keeps the last few open; safe for many threads."""

    def __init__(self, blobs: BlobStore, cache: Path, cache_limit_bytes: int) -> None:
        self._open: Callable[[str], RecordSet] = lambda digest: RecordSet.open(blobs, digest, cache, cache_limit_bytes)
        self._sets: OrderedDict[tuple[str, str, str], RecordSet] = OrderedDict()
        self._lock = Lock()

    def page(self, digest: str, *, split: str, label: str, start: int, limit: int) -> list[Record]:
        """Return up to `limit` samples of the selection from position `start`."""
        chosen = self._selection(digest, split, label)
        return [chosen.record(index) for index in range(start, min(len(chosen), start + limit))]

    def read(self, digest: str, sample_id: str, limit_bytes: int) -> tuple[Record, bytes | None]:
        """Return a sample and its verified bytes; None for the bytes if they are more than `limit_bytes`."""
        records = self._selection(digest, "", "")
        index = records.index(sample_id)
        record = records.record(index)
        return record, records.read_range(index) if record.length <= limit_bytes else None

    def _selection(self, digest: str, split: str, label: str) -> RecordSet:
        key = (digest, split, label)
        with self._lock:
            if key in self._sets:
                self._sets.move_to_end(key)
                return self._sets[key]
        chosen = self._open(digest) if not (split or label) else self._selection(digest, "", "")
        if split or label:
            chosen = chosen.select(split=split or None, label=label or None)
        with self._lock:
            self._sets[key] = chosen
            while len(self._sets) > KEPT_SETS:
                self._sets.popitem(last=False)
        return chosen
