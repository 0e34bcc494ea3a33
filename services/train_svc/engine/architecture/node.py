"""A tree of blocks with its shapes resolved: what both builders, the summary and the plans read."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from services.common.errors import InvalidError
from services.common.names import nearest
from services.train_svc.engine.reading import fault, join

if TYPE_CHECKING:
    from services.train_svc.engine.architecture.block import Block

Size = int | None
"""One size of a shape; None: it differs from call to call, as the time of a recording does."""
Shape = tuple[Size, ...]
"""Sizes of one sample, the batch left out: [channels, height, width] of a picture, [time, features] of a sequence,
[features] of a vector, [time] of token ids."""
PICTURE_AXES = 3
SEQUENCE_AXES = 2


class Lattice(tuple[Size, ...]):
    """A shape of three axes that is no picture's: [frames, labels, scores] of a transducer. Engines do not turn it."""

    __slots__ = ()


@dataclass(frozen=True)
class Init:
    """How a parameter begins."""

    kind: Literal["constant", "normal", "uniform", "truncated", "table"]
    """A number everywhere; normal; uniform; normal cut off at two standard deviations; or what `table` gives."""
    value: float = 0.0
    """The number, the standard deviation, or the largest absolute value."""
    table: Callable[[tuple[int, ...]], Any] | None = None
    """Gives a float32 NumPy array of the shape."""


ZEROS, ONES = Init("constant", 0.0), Init("constant", 1.0)


@dataclass(frozen=True, kw_only=True)
class Param:
    """A tensor that a block owns, in the canonical layout, which is torch's."""

    shape: tuple[int, ...]
    """Its sizes."""
    init: Init = ZEROS
    """How it begins."""
    trainable: bool = True
    """False: a buffer, such as a running mean."""
    counted: bool = False
    """True: a buffer that published parameter counts include, as Whisper's table of positions is."""
    dtype: str = "float32"
    """Its type."""
    layout: str = ""
    """Names the axes where an engine stores them in another order: conv1d, conv2d, depthwise2d. Empty: as they are."""

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class State:
    """A tensor that a block carries from one step of a stream, or of a decoding loop, to the next."""

    shape: Shape
    """Sizes after the batch; None: grows from 0, as a cache of keys does."""
    dtype: str = "float32"
    """Its type."""
    per_sample: bool = True
    """False: one for the whole batch, such as a position; then `shape` is all of it."""
    constant: bool = False
    """True: filled before the first step and only read, as the keys of an encoder's output are."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A block in its place: what goes in, what comes out, what it owns."""

    name: str
    """Begins the names of its parameters, such as `encoder.layers.0.attention`."""
    block: "Block"
    """What it is."""
    input_shape: Shape
    """Of one sample."""
    output_shape: Shape
    """Of one sample."""
    children: Mapping[str, "Node"] = field(default_factory=dict)
    """The blocks within, by their part of the name, in the order in which they run."""
    parameters: Mapping[str, Param] = field(default_factory=dict)
    """Its own parameters and buffers, without those of its children."""
    states: Mapping[str, State] = field(default_factory=dict)
    """What it carries from step to step."""
    multiply_adds: int = 0
    """Of one sample, its children's left out; those that depend on an unknown size are not counted."""

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all within, parents first."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    @property
    def parameter_count(self) -> int:
        """How many numbers it and its children hold that are trainable, or counted though they are not."""
        return sum(p.count for node in self.walk() for p in node.parameters.values() if p.trainable or p.counted)

    @property
    def total_multiply_adds(self) -> int:
        """Of one sample, its children's included."""
        return sum(node.multiply_adds for node in self.walk())


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a block stands while the tree is resolved: its path in the file, its name, and what came before it."""

    path: str
    """In the file, such as `body[3].residual`."""
    name: str = ""
    """Begins the names of its parameters."""
    values: dict[str, Shape] = field(default_factory=dict)
    """Shapes of the model's inputs and of what `save` kept so far; shared by the whole tree."""
    nodes: dict[str, Node] = field(default_factory=dict)
    """Every node resolved so far, by name; shared by the whole tree."""
    chunk: tuple[int, int] | None = None
    """Inside `streaming`: frames a chunk, and chunks to the left that attention sees (-1: all)."""

    def fault(self, message: str) -> InvalidError:
        """Return the error of a fault here."""
        return fault(self.path, message)

    def inside(self, part: str, name: str = "") -> "Place":
        """Return the place of `part` (a field, or `field[index].kind`) of this block, named `name`."""
        deeper = join(self.name, name) if name else self.name
        return dataclasses.replace(self, path=join(self.path, part) if part else self.path, name=deeper)

    def resolve(self, block: "Block", shape: Shape) -> Node:
        """Return the block's node, noted so that others can refer to it."""
        node = block.resolve(shape, self)
        self.nodes[node.name] = node
        return node

    def child(self, name: str, block: "Block", shape: Shape) -> Node:
        """Return the node of a block that another has within, such as the `query` of an attention."""
        return self.inside(name, name).resolve(block, shape)

    def node(self, block: "Block", shape: Shape, output: Shape, **fields: object) -> Node:
        """Return the node of the block that stands here."""
        return Node(name=self.name, block=block, input_shape=shape, output_shape=output, **fields)  # type: ignore[arg-type]  # Node's own fields

    def value(self, name: str) -> Shape:
        """Return the shape of a named value.

        Raises:
            InvalidError: there is no such input, and nothing before this place saved it.
        """
        if name not in self.values:
            known = ", ".join(self.values) or "none"
            raise self.fault(f"there is no value {name!r} here{nearest(name, self.values)}; known: {known}")
        return self.values[name]

    def earlier(self, name: str) -> Node:
        """Return the node whose parameters have the name.

        Raises:
            InvalidError: no block before this place has it.
        """
        if name not in self.nodes:
            raise self.fault(f"there is no block {name!r} before this one{nearest(name, self.nodes)}")
        return self.nodes[name]


def times(*sizes: Size) -> int:
    """Return the product of sizes, or 0 where one of them is not known."""
    return 0 if any(size is None for size in sizes) else math.prod(size for size in sizes if size is not None)
