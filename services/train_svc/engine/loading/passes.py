"""An iterable gone through again and again, so that any of its items can be reached."""

import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from services.common.errors import InvalidError
from services.train_svc.engine.chance import seed_of

KEPT_STATES = 8
"""Of an iterable that can say where it is: more than any prefetching is ahead."""


class Indexed(Protocol):
    """Items of known number, any of which can be had."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int, /) -> Any:  # noqa: ANN401 - whatever the items are
        """Return one."""


Batches = Iterable[Any] | Indexed | Callable[[], Iterator[Any]]
"""An iterable, or a function that returns an iterator."""


def kind_of(batches: object) -> str:
    """Return what to call an iterable in a message."""
    return getattr(batches, "__qualname__", type(batches).__name__)


def check_repeatable(batches: Any) -> None:  # noqa: ANN401 - whatever the user gave
    """Check that an object can be iterated, and again.

    Raises:
        InvalidError: it cannot; the message says what can.
    """
    cure = "give a list, a DataLoader, or a function that returns a new iterator at each call"
    if isinstance(batches, str | bytes | Mapping):
        raise InvalidError(f"the data is a {kind_of(batches)}, wanted an iterable of batches; {cure}", field="data")
    if hasattr(batches, "__next__"):
        message = f"the data is a {kind_of(batches)}, which can be gone through once only; {cure} (`f`, not `f()`)"
        raise InvalidError(message, field="data")
    if not (hasattr(batches, "__iter__") or hasattr(batches, "__getitem__") or callable(batches)):
        raise InvalidError(f"the data is a {kind_of(batches)}, wanted an iterable of batches; {cure}", field="data")


def length_of(batches: Any) -> int | None:  # noqa: ANN401
    """Return how many items an iterable says it has; None: it does not say."""
    try:
        return len(batches)
    except (TypeError, NotImplementedError, AttributeError):
        return None


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where an iterable that can say so stands."""

    number: int
    """Of the pass, from 0."""
    place: int
    """Of the next item within the pass."""
    state: Any
    """What its `state_dict` gave."""


class Passes:
    """Item k of all passes over an iterable, laid end to end.

    The next item is the next one; any other is reached by going through the pass that it is in. Every pass begins with
    a seed of its own: objects that shuffle by a torch generator (a DataLoader, its samplers) get it, those with a
    `set_epoch` are told the pass. What else an iterable draws from global generators cannot be made again.

    Args:
        batches: an iterable, or a function that returns an iterator.
        seed: the run's.
    """

    def __init__(self, batches: Batches, seed: int = 0) -> None:
        check_repeatable(batches)
        self._batches = batches
        self._seed = seed
        self._length = length_of(batches)
        self._said = self._length
        self._iterator: Iterator[Any] | None = None
        self._made: Any = None
        self._number = self._place = self._next = 0
        self._positions: dict[int, Position] = {}

    @property
    def kind(self) -> str:
        """What to call the iterable in a message."""
        return kind_of(self._batches)

    @property
    def length(self) -> int:
        """Items of a pass; an iterable that does not say is gone through once.

        Raises:
            InvalidError: it is empty.
        """
        if self._length is None:
            self._length = sum(1 for _ in self._open(0))
            self._iterator = None
        if not self._length:
            raise self._empty()
        return self._length

    def once(self) -> Iterator[Any]:
        """Return an iterator over one pass, the first one."""
        return self._open(0)

    def item(self, step: int) -> Any:  # noqa: ANN401 - whatever the iterable yields
        """Return an item, counted from the first one of the first pass.

        Raises:
            InvalidError: a pass is empty, or has not as many items as the iterable says.
        """
        if self._iterator is None or step != self._next:
            self._go_to(step)
        return self._take()

    def position(self, step: int) -> Position | None:
        """Return where the iterable stood before an item; None: it cannot say, or that is too long ago."""
        return self._positions.get(step)

    def keep(self, step: int, position: Position) -> None:
        """Take a position of an earlier process: going to that item then costs nothing."""
        self._positions[step] = position

    def _go_to(self, step: int) -> None:
        if step in self._positions:
            self._load(step, self._positions[step])
        elif self._iterator is None or step < self._next:
            self._begin(step // self._length if self._length else 0)
        while self._next < step:
            # The length may become known on the way: then whole passes are left out.
            if self._length and step // self._length > self._number:
                self._begin(step // self._length)
            else:
                self._take()

    def _begin(self, number: int) -> None:
        self._iterator = self._open(number)
        self._number, self._place, self._next = number, 0, number * (self._length or 0)

    def _load(self, step: int, position: Position) -> None:
        self._batches.load_state_dict(copy.deepcopy(position.state))  # type: ignore[union-attr]  # it gave the state
        self._iterator = iter(self._batches)  # type: ignore[arg-type]  # what has states is iterable
        self._number, self._place, self._next = position.number, position.place, step

    def _open(self, number: int) -> Iterator[Any]:
        _seed_pass(self._batches, number, seed_of(self._seed, "augment", number))
        if hasattr(self._batches, "__iter__") or hasattr(self._batches, "__getitem__"):
            return iter(self._batches)
        made = self._batches()
        if made is self._made:
            message = f"{self.kind} returned the same iterator again; it must make a new one at each call"
            raise InvalidError(message, field="data")
        self._made = made
        return iter(made)

    def _take(self) -> Any:  # noqa: ANN401
        assert self._iterator is not None, "`_go_to` opened it"
        try:
            found = next(self._iterator)
        except StopIteration:
            self._end()
            return self._take()
        self._place, self._next = self._place + 1, self._next + 1
        if hasattr(self._batches, "state_dict") and hasattr(self._batches, "load_state_dict"):
            state = copy.deepcopy(self._batches.state_dict())
            self._positions[self._next] = Position(number=self._number, place=self._place, state=state)
            self._positions = dict(list(self._positions.items())[-KEPT_STATES:])
        return found

    def _end(self) -> None:
        if not self._place:
            raise self._empty()
        if self._length is not None and self._place != self._length:
            said = "says that it has" if self._said else "had"
            message = f"{self.kind} {said} {self._length} batches, and pass {self._number + 1} gave {self._place}"
            raise InvalidError(f"{message}; every pass must give as many", field="data")
        self._length = self._place
        self._begin(self._number + 1)

    def _empty(self) -> InvalidError:
        return InvalidError(f"the data has no batch 1: going through {self.kind} gave nothing", field="data")


def _seed_pass(batches: Any, number: int, seed: int) -> None:  # noqa: ANN401
    inner = getattr(batches, "batch_sampler", None)
    owners = [batches, getattr(batches, "sampler", None), inner, getattr(inner, "sampler", None),
              getattr(batches, "dataset", None)]  # fmt: skip
    for owner in {id(each): each for each in owners if each is not None}.values():
        if callable(getattr(owner, "set_epoch", None)):
            owner.set_epoch(number)
        _seed_generator(owner, seed)


def _seed_generator(owner: Any, seed: int) -> None:  # noqa: ANN401
    # torch is not imported for this: where such an owner is, it has been.
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(owner, "generator"):
        return
    if owner.generator is None:
        owner.generator = torch.Generator()
    if isinstance(owner.generator, torch.Generator):
        owner.generator.manual_seed(seed)
