"""What a step learns from: arrays by name, on their way from a source to an engine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

Array = Any
"""A NumPy array on the host; on its way through an engine, a tensor of it."""
Arrays = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples of one step, or of one piece of it."""

    inputs: Arrays
    """[batch, ...] by the names of the model's inputs; of a module of the user's own, in its order."""
    targets: Arrays
    """[batch, ...] by the names that the loss reads, such as `labels`."""
    ids: Sequence[str] = ()
    """Names of the samples, for messages; empty: they have none."""
    draws: Arrays = field(default_factory=dict)
    """Random numbers of this batch's augmentation, drawn on the host, so that both engines change it alike."""

    def __len__(self) -> int:
        """How many samples there are."""
        return len(next(iter(self.inputs.values()), ()))

    def pieces(self, count: int) -> Iterator["Batch"]:
        """Yield the batch in `count` pieces, as even as it goes; fewer where it has fewer samples."""
        size = -(-len(self) // count)
        for start in range(0, len(self), size):
            yield self.cut(slice(start, start + size))

    def repeated(self, count: int) -> "Batch":
        """Return `count` samples: its own, again and again."""
        rows = [place % len(self) for place in range(count)]
        inputs, targets, draws = (
            {name: array[rows] for name, array in part.items()} for part in (self.inputs, self.targets, self.draws)
        )
        return replace(self, inputs=inputs, targets=targets, draws=draws, ids=[])

    def cut(self, rows: slice) -> "Batch":
        """Return some of its samples."""
        inputs, targets, draws = (
            {name: array[rows] for name, array in part.items()} for part in (self.inputs, self.targets, self.draws)
        )
        return replace(self, inputs=inputs, targets=targets, draws=draws, ids=self.ids[rows])


class Source(Protocol):
    """Numbered batches to learn from. Batch k is a pure function of the source: it can be made again, alone."""

    @property
    def digest(self) -> str:
        """Name of what is behind it; a checkpoint of one source is not resumed with another."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""

    def at(self, step: int) -> Batch:
        """Return the batch of a step, counted from the beginning of the run.

        Raises:
            InvalidError: a sample cannot be read; it is named.
        """


class Evaluated(Protocol):
    """What a model is evaluated on, in batches; it may be gone through again and again."""

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches once, unchanged by chance."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a run learns from, and what it is evaluated on."""

    train: Source
    """Learnt from."""
    validation: Evaluated | Iterable[Batch] | None = None
    """Evaluated after each epoch; None: nothing is."""
