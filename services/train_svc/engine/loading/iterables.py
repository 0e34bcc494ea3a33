"""Any iterable of batches as a source: a DataLoader, a list, a function that makes a generator."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.common.digest import digest_json
from services.common.errors import InvalidError
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.loading.items import Names, as_batch, check_same
from services.train_svc.engine.loading.passes import Batches, Passes, Position, check_repeatable, length_of

NAMES = Names()


class IterableSource:
    """Numbered batches of an iterable. Batch k is item k of its passes laid end to end: see `Passes`.

    What can be indexed is indexed; for other iterables a jump costs going through the batches before it, unless they
    can say where they are (`state_dict` and `load_state_dict`, as torchdata's StatefulDataLoader).

    Args:
        batches: an iterable that can be gone through again, or a function that returns an iterator. Items as
            `items.as_batch` takes them.
        names: for inputs and targets that come without.
        steps_per_epoch: batches in an epoch; 0: one pass. An iterable without a length is gone through once to count
            them, and one without end needs this number.
        seed: the run's, for iterables that shuffle.
        digest: name of what is behind it; empty: of its type and size, since its content is not known.

    Raises:
        InvalidError: it can be gone through once only, is no iterable, or is empty.
    """

    def __init__(
        self, batches: Batches, *, names: Names = NAMES, steps_per_epoch: int = 0, seed: int = 0, digest: str = ""
    ) -> None:
        check_repeatable(batches)
        self._indexed: Any = batches if _is_indexed(batches) else None
        self._passes = Passes(batches, seed)
        self._names = names
        self._keys: set[str] | None = None
        self._steps = steps_per_epoch
        self._digest = digest
        if length_of(batches) == 0:
            _ = self._passes.length

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        self._steps = self._steps or self._passes.length
        return self._steps

    @property
    def digest(self) -> str:
        """Name of what is behind it."""
        batches = self._passes.kind
        return self._digest or digest_json({"iterable": batches, "steps_per_epoch": self.steps_per_epoch})

    def at(self, step: int) -> Batch:
        """Return the batch of a step, counted from the beginning of the run.

        Raises:
            InvalidError: the batch is empty, of no known form, or differs in its arrays from those before; it says
                which. Or a pass over the iterable has not as many batches as the one before.
        """
        item = self._passes.item(step) if self._indexed is None else self._indexed[step % self._passes.length]
        batch = as_batch(item, step + 1, self._names)
        self._keys = check_same(batch, self._keys, step + 1)
        return batch

    def position(self, step: int) -> Position | None:
        """Return where the iterable stands before a step, to be kept in a checkpoint; None: it cannot say."""
        return self._passes.position(step)

    def resume(self, step: int, position: Position) -> None:
        """Take the position of an earlier process, so that going to that step costs nothing."""
        self._passes.keep(step, position)


class IterableBatches:
    """The batches of one pass over an iterable, again and again: what a model is evaluated on.

    Args:
        batches: as of `IterableSource`.
        names: for inputs and targets that come without.

    Raises:
        InvalidError: it can be gone through once only, or is no iterable.
    """

    def __init__(self, batches: Batches, *, names: Names = NAMES) -> None:
        self._passes = Passes(batches)
        self._names = names

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches once.

        Raises:
            InvalidError: as `IterableSource.at`.
        """
        keys, number = None, 0
        for number, item in enumerate(self._passes.once(), 1):
            batch = as_batch(item, number, self._names)
            keys = check_same(batch, keys, number)
            yield batch
        if not number:
            raise InvalidError("the validation data has no batch 1: going through it gave nothing", field="data")


def _is_indexed(batches: Any) -> bool:  # noqa: ANN401
    is_sequence = hasattr(batches, "__getitem__") and length_of(batches) is not None
    return isinstance(batches, Sequence) or (is_sequence and not isinstance(batches, Mapping))
