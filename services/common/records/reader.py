"""Reads a record set: columns mapped from the manifest, bytes from cached shards or by range."""

from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from services.common.digest import digest_bytes
from services.common.errors import InvalidError, NotFoundError
from services.common.names import nearest
from services.common.records.cache import ShardCache
from services.common.records.manifest import Blobs, Record, read_manifest
from services.common.records.order import Indices, SampleOrder


class RecordSet:
    """An immutable sequence of records; `len`, `read(i)`, `record(i)`, and columns as arrays.

    A selection is a record set over some of the rows and shares everything else.
    """

    def __init__(self, blobs: Blobs, digest: str, cache: ShardCache, rows: Indices | None = None) -> None:
        self._blobs = blobs
        self._cache = cache
        self.digest = digest
        """Digest of the manifest; the same for every selection."""
        self._table, self.manifest = read_manifest(cache.path(digest))
        self.rows = np.arange(self._table.num_rows, dtype=np.int64) if rows is None else rows
        """Rows of the manifest that belong to this selection, int64."""
        self._maps: dict[int, memoryview] = {}

    @classmethod
    def open(cls, blobs: Blobs, manifest_digest: str, cache: Path, cache_limit_bytes: int | None = None) -> Self:
        """Fetch the manifest into the folder `cache` and return all of its records.

        Raises:
            NotFoundError: the store has no such blob.
            InvalidError: the blob is no manifest.
        """
        return cls(blobs, manifest_digest, ShardCache(blobs, cache, cache_limit_bytes))

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.rows)

    def select(self, *, split: str | None = None, label: str | None = None) -> "RecordSet":
        """Return the records of one split, of one label, or both.

        Raises:
            InvalidError: there is no such split or label; the message names those there are.
        """
        mask = np.ones(self._table.num_rows, dtype=bool)
        if split is not None:
            _demand(split, self.splits, "split")
            mask &= pc.equal(self._table["split"], split).to_numpy()
        if label is not None:
            _demand(label, self.labels, "label")
            mask &= self._has_label(label)
        chosen = RecordSet.__new__(RecordSet)
        chosen.__dict__.update({name: value for name, value in self.__dict__.items() if name not in _CACHED})
        chosen.rows = self.rows[mask[self.rows]]
        return chosen

    @property
    def splits(self) -> list[str]:
        """Names of the splits in the whole set, sorted."""
        return sorted(value for value in pc.unique(self._table["split"]).to_pylist() if value)

    @cached_property
    def labels(self) -> list[str]:
        """Names of the classes in the whole set, sorted; `targets` point into it."""
        return list(self.manifest.schema.get("labels") or self._found_labels())

    @cached_property
    def targets(self) -> Indices:
        """Index into `labels` of each record's first label, int64 of shape [len]; -1 where it has none."""
        flat = pc.index_in(pc.list_flatten(self._labels), value_set=pa.array(self.labels, pa.string())).to_numpy()
        parents = pc.list_parent_indices(self._labels).to_numpy()
        targets = np.full(self._table.num_rows, -1, dtype=np.int64)
        targets[parents[::-1]] = flat[::-1]
        return targets[self.rows]

    @cached_property
    def digests(self) -> list[str]:
        """Digest of each record's bytes."""
        return self._table["digest"].take(pa.array(self.rows)).to_pylist()  # type: ignore[no-any-return]  # pyarrow is untyped

    @cached_property
    def ids(self) -> list[str]:
        """Id of each record."""
        return self._table["id"].take(pa.array(self.rows)).to_pylist()  # type: ignore[no-any-return]  # pyarrow is untyped

    def record(self, index: int) -> Record:
        """Return what the manifest says of one record."""
        row = self._row(index)
        values = {name: self._table[name][row].as_py() for name in self._table.column_names}
        del values["shard"], values["offset"]
        return Record(**(values | {"labels": tuple(values["labels"]), "shape": tuple(values["shape"])}))

    def index(self, record_id: str) -> int:
        """Return the position of a record in this selection.

        Raises:
            NotFoundError: it is not there.
        """
        row = pc.index(self._table["id"], record_id).as_py()
        found = np.flatnonzero(self.rows == row) if row >= 0 else np.empty(0, dtype=np.int64)
        if not len(found):
            raise NotFoundError(f"record {record_id!r} is not in {self.digest}")
        return int(found[0])

    def read(self, index: int) -> bytes:
        """Return a record's bytes, from the local copy of its shard; the shard is fetched and verified once."""
        shard, offset, length = self._place(index)
        data = self._maps.get(shard)
        if data is None:
            if not length:
                return b""
            data = self._maps[shard] = self._cache.map(self.manifest.shards[shard].digest)
        return bytes(data[offset : offset + length])

    def read_range(self, index: int) -> bytes:
        """Return a record's bytes read by range from the store, verified; for few records of a large set.

        Raises:
            InvalidError: the store's bytes are not those that were committed.
        """
        shard, offset, length = self._place(index)
        data = self._blobs.read_range(self.manifest.shards[shard].digest, offset, length) if length else b""
        record = self.record(index)
        if digest_bytes(data) != record.digest:
            raise InvalidError(f"record {record.id!r} of {self.digest} is damaged in the storage; restore its shard")
        return data

    def order(
        self,
        *,
        batch_size: int,
        seed: int = 0,
        world_size: int = 1,
        rank: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> SampleOrder:
        """Return the order in which training reads this selection; its indices are those of `read`."""
        return SampleOrder(
            digest=self.digest,
            count=len(self),
            batch_size=batch_size,
            seed=seed,
            world_size=world_size,
            rank=rank,
            shuffle=shuffle,
            drop_last=drop_last,
        )

    @cached_property
    def _columns(self) -> tuple[Indices, Indices, Indices]:
        return self._table["shard"].to_numpy(), self._table["offset"].to_numpy(), self._table["length"].to_numpy()

    @cached_property
    def _labels(self) -> pa.Array:
        return self._table["labels"].combine_chunks()

    def _place(self, index: int) -> tuple[int, int, int]:
        row = self._row(index)
        shards, offsets, lengths = self._columns
        return int(shards[row]), int(offsets[row]), int(lengths[row])

    def _row(self, index: int) -> int:
        return int(self.rows[index])

    def _has_label(self, label: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        hits = pc.equal(pc.list_flatten(self._labels), label).to_numpy(zero_copy_only=False)
        mask = np.zeros(self._table.num_rows, dtype=bool)
        mask[pc.list_parent_indices(self._labels).to_numpy()[hits]] = True
        return mask

    def _found_labels(self) -> list[str]:
        return sorted(pc.unique(pc.list_flatten(self._labels)).to_pylist())


_CACHED = {"targets", "digests", "ids"}
"""Properties that differ from selection to selection."""


def _demand(name: str, valid: list[str], kind: str) -> None:
    if name not in valid:
        raise InvalidError(
            f"the set has no {kind} {name!r}; it has {', '.join(valid) or 'none'}{nearest(name, valid)}", field=kind
        )
