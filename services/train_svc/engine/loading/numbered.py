"""Batches of samples that can be reached by their indices: shuffled to learn from, in order to be evaluated on."""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.common.errors import InvalidError
from services.common.records import SampleOrder
from services.train_svc.engine.batch import Batch

FEWEST = 2

Indices = npt.NDArray[np.int64]


class Samples(Protocol):
    """Samples of known number, any of which can be read."""

    def __len__(self) -> int:
        """How many there are."""

    def read(self, indices: Indices) -> Batch:
        """Return those at `indices` as a batch.

        Raises:
            InvalidError: one cannot be read; it is named.
        """


class ShuffledSource:
    """A source over samples: every epoch in a new order, its last batch left out if it would be smaller.

    Args:
        samples: learnt from.
        digest: of their content; decides the order, with the seed.
        batch_size: samples a step; at most all there are.
        seed: the run's.

    Raises:
        InvalidError: there are fewer than two samples.
    """

    def __init__(self, samples: Samples, *, digest: str, batch_size: int, seed: int = 0) -> None:
        if len(samples) < FEWEST:
            raise InvalidError(f"there are {len(samples)} samples to train on, wanted {FEWEST} or more", field="data")
        self._samples = samples
        self._order = SampleOrder(
            digest=digest, count=len(samples), batch_size=min(batch_size, len(samples)), seed=seed, drop_last=True
        )

    @property
    def digest(self) -> str:
        """Name of the samples' content."""
        return self._order.digest

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self._order.steps_per_epoch

    def at(self, step: int) -> Batch:
        """Return the batch of a step, counted from the beginning of the run.

        Raises:
            InvalidError: a sample cannot be read; it is named.
        """
        return self._samples.read(self._order.at(step))


class OrderedBatches:
    """All samples in their order, the last batch with what is left.

    Args:
        samples: evaluated on.
        batch_size: samples in a batch.
    """

    def __init__(self, samples: Samples, *, batch_size: int) -> None:
        self._samples = samples
        self._batch_size = batch_size

    def __len__(self) -> int:
        """How many batches there are."""
        return math.ceil(len(self._samples) / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield every sample once.

        Raises:
            InvalidError: a sample cannot be read; it is named.
        """
        for start in range(0, len(self._samples), self._batch_size):
            yield self._samples.read(np.arange(start, min(start + self._batch_size, len(self._samples))))
