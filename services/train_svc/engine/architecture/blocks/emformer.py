"""Segments with a hard-copied right context, and attention over them (Emformer, arXiv 2010.10759)."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import branch
from services.train_svc.engine.architecture.blocks.convolution import window
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import Node, Place, Shape, State, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class StackFrames(Block):
    """Every `count` frames side by side as one: [time, features] to [time / count, count * features].

    Frames that do not fill the last one are left out.
    """

    kind: ClassVar[str] = "stack_frames"

    count: int = setting(2, least=1)
    """Frames in one."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        time, wide = sequence(self, shape, at)
        return at.node(self, shape, (window(time, self.count, self.count, 0, at, "frames"), self.count * wide))


@dataclass(frozen=True, kw_only=True)
class Segments(Block):
    """Runs its body over segments of `length` frames, each followed by a copy of the `right_context` frames after it.

    In the body, segments and their copies lie one behind the other, so that blocks that treat each frame alone need not
    know of them; `segment_attention` does. In a stream a step takes `count * length + right_context` frames, of which
    the last `right_context` come again at the start of the next step, and gives `count * length`; at the end of the
    stream the missing ones are padding, which `lengths` declares.
    """

    kind: ClassVar[str] = "segments"

    length: int = setting(least=1)
    """Frames of a segment."""
    right_context: int = setting(0, least=0)
    """Frames after it that it sees."""
    body: tuple[Block, ...] = ()
    """The blocks; they keep the time."""

    @property
    def slots(self) -> int:
        """Frames of a segment and of its right context."""
        return self.length + self.right_context

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the time stays."""
        time, wide = sequence(self, shape, at)
        inside = None if time is None else -(-time // self.length) * self.slots
        body = branch("body", self.body, (inside, wide), at)
        if body.output_shape[:-1] != (inside,):
            raise at.inside("body").fault("does not keep the time, which is cut into segments")
        return at.node(self, shape, (time, *body.output_shape[1:]), children={"body": body})


@dataclass(frozen=True, kw_only=True)
class SegmentAttention(Block):
    """Multi-head attention in `segments`: a segment sees `left_context` frames before it, itself, its right context.

    With a memory bank it also sees one vector for each of the last `memory_size` segments: tanh of what the attention
    of the layer below gave for the mean of that segment's frames, and in the first layer that mean.
    """

    kind: ClassVar[str] = "segment_attention"

    heads: int = setting(least=1)
    """How many queries a frame has; a divisor of the features."""
    length: int = setting(least=1)
    """Of the `segments` around it."""
    right_context: int = setting(0, least=0)
    """Of the `segments` around it."""
    left_context: int = setting(0, least=0)
    """Frames before a segment that it sees; in a stream their keys and values are carried."""
    memory_size: int = setting(0, least=0)
    """Vectors of the memory bank that a segment sees; 0: no bank."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the attention that is zeroed while training."""

    @property
    def slots(self) -> int:
        """Frames of a segment and of its right context."""
        return self.length + self.right_context

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        time, wide = sequence(self, shape, at)
        if wide % self.heads:
            raise at.inside("heads").fault(f"{self.heads} heads do not divide {wide} features; choose a divisor")
        column, row = Linear(out_features=wide, split="column"), Linear(out_features=wide, split="row")
        children = {name: at.child(name, column, shape) for name in ("query", "key", "value")}
        children["output"] = at.child("output", row, shape)
        seen = self.left_context + self.slots + self.memory_size
        cost = 2 * times(time, seen, wide)
        return at.node(self, shape, shape, children=children, states=self._states(wide), multiply_adds=cost)

    def _states(self, wide: int) -> dict[str, State]:
        left, bank = self.left_context, self.memory_size
        states = {
            "left_key": State(shape=(left, wide)),
            "left_value": State(shape=(left, wide)),
            "left_real": State(shape=(left,), dtype="bool"),
            "bank": State(shape=(bank, wide)),
            "bank_real": State(shape=(bank,), dtype="bool"),
        }
        return {name: state for name, state in states.items() if state.shape[0]}


MEANS = "means of the segments"
"""Where `segments` leaves them, and each `segment_attention` the memory for the next, among the tables of a run."""
