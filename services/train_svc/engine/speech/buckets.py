"""Batches of similar lengths, so that little of them is padding."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.errors import InvalidError
from services.common.records import SampleOrder

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class BucketOrder:
    """Which samples make the batches of an epoch: shuffled, cut into windows, sorted within each, and cut into batches,
    whose order is shuffled again. A pure function of these fields, the epoch and the lengths.
    """

    digest: str
    """Of the data."""
    count: int
    """Samples in an epoch."""
    batch_size: int
    """Samples a batch; those that are left over at an epoch's end wait for another."""
    seed: int = 0
    window_batches: int = 32
    """Batches that are sorted together: more of them waste less on padding, and mix the samples less."""

    def __post_init__(self) -> None:
        """Refuse orders that have no batches."""
        if self.batch_size < 1 or self.window_batches < 1:
            raise InvalidError(
                f"batch_size {self.batch_size} and window_batches {self.window_batches} must be 1 or more"
            )
        if self.count < self.batch_size:
            message = f"batch_size {self.batch_size} is more than the {self.count} samples; lower it"
            raise InvalidError(message, field="batch_size")

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self.count // self.batch_size

    def epoch(self, epoch: int, lengths: Indices) -> Indices:
        """Return the samples of all batches, int64 [steps, batch_size], each row from short to long.

        Args:
            epoch: counted from 0.
            lengths: of all samples in this epoch, int64 [count].
        """
        steps = self.steps_per_epoch
        samples = self._shuffled(self.count, "samples", epoch)[: steps * self.batch_size]
        window = np.arange(len(samples)) // (self.window_batches * self.batch_size)
        # The last key is the first to sort by; what is equal keeps the shuffled order.
        samples = samples[np.lexsort((lengths[samples], window))]
        return samples.reshape(steps, self.batch_size)[self._shuffled(steps, "batches", epoch)]

    def _shuffled(self, count: int, what: str, epoch: int) -> Indices:
        return SampleOrder(digest=f"{self.digest}/{what}", count=count, batch_size=1, seed=self.seed).epoch(epoch)
