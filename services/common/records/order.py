"""Which records make batch k: a pure function, the same on every machine and after every restart."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError

Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SampleOrder:
    """Order of `count` records over epochs, steps and ranks.

    Batch `step` of `epoch` depends on these fields alone, so it can be produced again and by itself.
    `batch_size` counts the records of all ranks together: the global batches stay the same when the
    world size changes in the middle of an epoch, and nothing is lost or repeated.
    """

    digest: str
    """Digest of the record set (and of its selection, if only a part is used)."""
    count: int
    """Records in one epoch."""
    batch_size: int
    """Records of one step over all ranks."""
    seed: int = 0
    world_size: int = 1
    rank: int = 0
    shuffle: bool = True
    """False keeps the records' own order."""
    drop_last: bool = False
    """Leave out the last batch if it is short. A short batch may leave some ranks with one record fewer."""

    def __post_init__(self) -> None:
        """Refuse orders that have no batches."""
        for name, value, least in (("count", self.count, 1), ("batch_size", self.batch_size, self.world_size)):
            if value < least:
                raise InvalidError(f"{name} is {value}; it must be at least {least}", field=name)
        if not 0 <= self.rank < self.world_size:
            raise InvalidError(f"rank {self.rank} is not below world_size {self.world_size}", field="rank")
        if self.drop_last and self.count < self.batch_size:
            raise InvalidError(
                f"batch_size {self.batch_size} is more than the {self.count} records, and drop_last leaves no batch",
                field="batch_size",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch."""
        full, rest = divmod(self.count, self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def epoch(self, epoch: int) -> Indices:
        """Return the order of all records in `epoch`, int64 of shape [count]; do not write to it."""
        if not self.shuffle:
            return np.arange(self.count, dtype=np.int64)
        return _permutation(_key(self.digest, self.seed, epoch), self.count)

    def batch(self, epoch: int, step: int) -> Indices:
        """Return this rank's records of batch `step` of `epoch`, int64."""
        if not 0 <= step < self.steps_per_epoch:
            raise InvalidError(f"step {step} is not in 0..{self.steps_per_epoch - 1}", field="step")
        start = step * self.batch_size
        return self.epoch(epoch)[start : start + self.batch_size][self.rank :: self.world_size]

    def at(self, step: int) -> Indices:
        """Return this rank's records of the batch `step` counted from the start of training."""
        return self.batch(*divmod(step, self.steps_per_epoch))


def _key(digest: str, seed: int, epoch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{digest}\n{seed}\n{epoch}".encode()).digest()[:8])


@lru_cache(maxsize=4)
def _permutation(key: int, count: int) -> Indices:
    # Sorting by SplitMix64 (Steele et al., 2014) does not change with the version of NumPy, as its own shuffles may.
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    order = np.argsort(state ^ (state >> np.uint64(31)), kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order
