"""Blocks that hold blocks: in a row, added, multiplied, side by side, repeated, named."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block, chain, last_shape
from services.train_svc.engine.architecture.node import Node, Place, Shape, Size, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class Sequential(Block):
    """Its blocks one after the other."""

    kind: ClassVar[str] = "sequential"

    body: tuple[Block, ...] = ()
    """The blocks; none: the input itself."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; its output is the last block's."""
        children = chain(self.body, shape, at, "body")
        return at.node(self, shape, last_shape(children, shape), children=children)


def branch(field: str, blocks: tuple[Block, ...], shape: Shape, at: Place) -> Node:
    """Return the node of the blocks in `field`, named by it."""
    children = chain(blocks, shape, at.inside("", field), field)
    return at.inside(field, field).node(Sequential(body=blocks), shape, last_shape(children, shape), children=children)


@dataclass(frozen=True, kw_only=True)
class Residual(Block):
    """scale * body(x) + shortcut(x) (He et al. 2016, arXiv 1512.03385)."""

    kind: ClassVar[str] = "residual"

    body: tuple[Block, ...] = ()
    """The branch that learns."""
    shortcut: tuple[Block, ...] = ()
    """The other branch; none: the input itself, whose shape the body must then keep."""
    scale: float = 1.0
    """Multiplies the body: 0.5 for the half steps of a Conformer."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; both branches must make one shape."""
        children = {"body": branch("body", self.body, shape, at)}
        if self.shortcut:
            children["shortcut"] = branch("shortcut", self.shortcut, shape, at)
        body, shortcut = children["body"].output_shape, last_shape(children, shape) if self.shortcut else shape
        if body != shortcut:
            raise at.fault(
                f"the body makes {sizes(body)} and the shortcut {sizes(shortcut)} of {sizes(shape)}; "
                "they are added, so give the shortcut a conv2d with the body's channels and stride"
            )
        return at.node(self, shape, body, children=children)


@dataclass(frozen=True, kw_only=True)
class Product(Block):
    """body(x) * gate(x), the gate broadcast: squeeze-and-excitation, SwiGLU, GeGLU (arXiv 2002.05202)."""

    kind: ClassVar[str] = "product"

    body: tuple[Block, ...] = ()
    """One factor; none: the input itself."""
    gate: tuple[Block, ...] = ()
    """The other."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the gate's sizes are the body's, or 1."""
        children = {"body": branch("body", self.body, shape, at), "gate": branch("gate", self.gate, shape, at)}
        body, gate = children["body"].output_shape, children["gate"].output_shape
        if len(body) != len(gate) or any(g not in (b, 1) for b, g in zip(body, gate, strict=True)):
            message = f"the body makes {sizes(body)} and the gate {sizes(gate)}; they are multiplied, so make them fit"
            raise at.fault(message)
        return at.node(self, shape, body, children=children, multiply_adds=times(*body))


@dataclass(frozen=True, kw_only=True)
class Concat(Block):
    """The outputs of branches beside one another: along the channels of pictures, else along the features."""

    kind: ClassVar[str] = "concat"

    branches: tuple[Block, ...] = ()
    """Each gets the same input, or begins with `load`."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the branches may differ along the joined axis alone."""
        children = chain(self.branches, shape, at, "branches")
        shapes = [node.output_shape for node in children.values()]
        if not shapes:
            raise at.inside("branches").fault("is empty; give two branches or more")
        axis = 0 if len(shapes[0]) == 3 else len(shapes[0]) - 1  # noqa: PLR2004 - a picture's axes
        if len({(*each[:axis], *each[axis + 1 :]) for each in shapes}) > 1:
            raise at.fault(f"the branches make {', '.join(map(sizes, shapes))}, which fit along no one axis")
        joined = sum(each[axis] or 0 for each in shapes)
        return at.node(self, shape, (*shapes[0][:axis], joined, *shapes[0][axis + 1 :]), children=children)


@dataclass(frozen=True, kw_only=True)
class Repeat(Block):
    """The body, `times` times in a row, each with its own parameters.

    Its items are what activation recomputation and sharding wrap, and where a pipeline may be cut.
    """

    kind: ClassVar[str] = "repeat"

    times: int = setting(least=1)
    """How often."""
    body: tuple[Block, ...] = ()
    """The blocks of one item, which keep the shape."""
    first: tuple[Block, ...] = ()
    """The blocks of item 0, where it differs; none: as the others."""
    cycle: tuple[Block, ...] = ()
    """Items that take turns with `body`, each a block or a `sequential` of them: with two of them, `body` stands at 0,
    3, 6 and so on. Local attention alternates with global so."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; its children are named 0, 1, ..."""
        children: dict[str, Node] = {}
        for index in range(self.times):
            place = at.inside("", str(index))
            field, body = self._item(index)
            nodes = chain(body, shape, place, field)
            output = last_shape(nodes, shape)
            if output != shape:
                message = f"the body makes {sizes(output)} of {sizes(shape)}; what is repeated must keep the shape"
                raise at.inside(field).fault(message)
            children[str(index)] = place.node(Sequential(body=body), shape, shape, children=nodes)
            at.nodes[place.name] = children[str(index)]
        return at.node(self, shape, shape, children=children)

    def _item(self, index: int) -> tuple[str, tuple[Block, ...]]:
        # Where it stands in the file, and its blocks.
        turn = index % (len(self.cycle) + 1)
        if index == 0 and self.first:
            return "first", self.first
        if turn == 0:
            return "body", self.body
        block = self.cycle[turn - 1]
        return f"cycle[{turn - 1}]", block.body if isinstance(block, Sequential) else (block,)


@dataclass(frozen=True, kw_only=True)
class Part(Block):
    """A named part of a model with an input of its own, such as the encoder or the decoder."""

    kind: ClassVar[str] = "part"

    input: str = ""
    """The value that it takes; empty: what the part before it gave."""
    lengths: str = ""
    """The input that says how long each sample is; the rest is padding."""
    mask: str = ""
    """Instead of `lengths`: the input that is 0 where there is padding."""
    output: str = ""
    """The name under which its output is kept, with its padding; empty: it only flows on."""
    body: tuple[Block, ...] = ()
    """The blocks."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node, and keep the output's shape under its name."""
        shape = at.value(self.input) if self.input else shape
        for name in (self.lengths, self.mask):
            if name:
                at.value(name)
        children = chain(self.body, shape, at, "body")
        output = last_shape(children, shape)
        if self.output:
            at.values[self.output] = output
        return at.node(self, shape, output, children=children)


@dataclass(frozen=True, kw_only=True)
class Save(Block):
    """Keeps the value that flows through it, and its padding, under a name: for `load`, for outputs, for attention."""

    kind: ClassVar[str] = "save"

    value: str = setting()
    """The name."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node, and note the shape."""
        at.values[self.value] = shape
        return at.node(self, shape, shape)


@dataclass(frozen=True, kw_only=True)
class Load(Block):
    """Goes on with a named value instead of what flowed so far."""

    kind: ClassVar[str] = "load"

    value: str = setting()
    """An input of the model, or what a `save` or a part before it kept."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        return at.node(self, shape, at.value(self.value))


def sizes(shape: tuple[Size, ...]) -> str:
    """Return a shape as people write it, `?` for a size that is not known."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
