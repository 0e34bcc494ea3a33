"""What blocks share while a model runs: named values, padding, carried state. Each engine adds how it masks."""

from collections.abc import Callable
from typing import Any


class Context:
    """One run of a model, or of a part of it."""

    def __init__(self, values: dict[str, Any], state: dict[str, Any] | None = None, *, training: bool = False) -> None:
        self.values = values
        """The inputs, and what `save` and parts kept."""
        self.padding: dict[str, tuple[Any, Any]] = {}
        """Lengths and mask of the values that were kept."""
        self.lengths: Any = None
        """[batch] how many frames of what flows now are real; None: `mask` says it, or all are."""
        self.mask: Any = None
        """[batch, time] true where what flows now is real; None: `lengths` says it, or all is."""
        self.state = state
        """Carried tensors by `<block>.<state>`; None: the whole input is there at once."""
        self.new_state: dict[str, Any] = {}
        """What the blocks leave for the next step."""
        self.memo: dict[Any, Any] = {}
        """Tables that blocks of one kind share, such as angles of rotation."""
        self.chunk: tuple[Any, Any] | None = None
        """Inside `streaming`: frames a chunk, and chunks to the left that are seen (-1: all); tensors if drawn."""
        self.training = training
        """Whether dropout drops."""
        self.seed: Any = None
        """Of this run's random numbers, on TensorFlow; None: from the engine's own generator."""
        self._draws = 0

    def draw(self, fold: Callable[[Any, int], Any]) -> Any:  # noqa: ANN401 - an engine's seed
        """Return another seed each time, which `fold` makes of the run's and a number."""
        self._draws += 1
        return fold(self.seed, self._draws)

    def stepping(self, state: dict[str, Any]) -> "Context":
        """Return a run of one frame within this one, which reads this one's values and carries its own state."""
        inner = Context(dict(self.values), state, training=self.training)
        inner.padding = dict(self.padding)
        return inner

    def keep(self, name: str, value: Any) -> None:  # noqa: ANN401 - an engine's tensor
        """Keep a value with its padding under a name."""
        self.values[name] = value
        self.padding[name] = (self.lengths, self.mask)

    def go_on_with(self, name: str) -> Any:  # noqa: ANN401 - an engine's tensor
        """Return a named value, and take its padding for what flows now."""
        self.lengths, self.mask = self.padding.get(name, (None, None))
        return self.values[name]

    def enter(self, part: Any, x: Any) -> Any:  # noqa: ANN401 - a `part` block; an engine's tensor
        """Return what flows into a part, and take its padding."""
        if part.input:
            x = self.go_on_with(part.input)
        if part.lengths:
            self.lengths, self.mask = self.values.get(part.lengths), None
        if part.mask:
            self.lengths, self.mask = None, self.values.get(part.mask)
        return x

    def leave(self, part: Any, x: Any) -> Any:  # noqa: ANN401 - a `part` block; an engine's tensor
        """Return what flows out of a part, kept under its name."""
        if part.output:
            self.keep(part.output, x)
        return x

    def resize(self, kernel: int, stride: int, pads: tuple[int, int]) -> None:
        """Shrink the lengths as a window of this kind shrinks the time."""
        if self.lengths is not None:
            self.lengths = (self.lengths + (sum(pads) - kernel)) // stride + 1
        elif self.mask is not None and stride > 1:
            raise ValueError("a mask cannot follow a stride; give the part `lengths` instead of `mask`")
