"""Series of several variables: each alone, each to its own scale, cut into patches."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block, chain, last_shape
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.blocks.convolution import window
from services.train_svc.engine.architecture.blocks.reshape import sequence
from services.train_svc.engine.architecture.node import SEQUENCE_AXES, Node, Place, Shape
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class AddChannel(Block):
    """One feature a frame: [time] to [time, 1], as a waveform needs it before a convolution."""

    kind: ClassVar[str] = "add_channel"

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        if len(shape) != 1:
            raise at.fault(f"add_channel got {sizes(shape)}, wanted [time]")
        return at.node(self, shape, (*shape, 1))


@dataclass(frozen=True, kw_only=True)
class EachChannel(Block):
    """The body for each variable alone, all with the same weights: variables are folded into the batch.

    [time, variables] comes to the body as [time, 1]. What it makes of all: [horizon] becomes [horizon, variables], and
    [patches, features] becomes [variables, patches, features].
    """

    kind: ClassVar[str] = "each_channel"

    body: tuple[Block, ...] = ()
    """The blocks; nothing in them may be carried in a stream."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        if len(shape) != SEQUENCE_AXES:
            raise at.fault(f"each_channel got {sizes(shape)}, wanted [time, variables]")
        children = chain(self.body, (shape[0], 1), at, "body")
        inner = last_shape(children, (shape[0], 1))
        if len(inner) not in (1, SEQUENCE_AXES):
            raise at.fault(f"the body makes {sizes(inner)}, wanted [horizon] or [patches, features]")
        return at.node(self, shape, (*inner, shape[1]) if len(inner) == 1 else (shape[1], *inner), children=children)


@dataclass(frozen=True, kw_only=True)
class Standardized(Block):
    """The body of a series with mean 0 and variance 1, each sample and variable by itself.

    Mean and scale are then given back to what the body makes (reversible instance normalisation, Kim et al. 2022).
    """

    kind: ClassVar[str] = "standardized"

    body: tuple[Block, ...] = ()
    """The blocks."""
    eps: float = setting(1e-5, above=0)
    """Added to the variance."""
    restore: bool = True
    """Give mean and scale back; the body must then make [horizon, variables]."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        if len(shape) != SEQUENCE_AXES:
            raise at.fault(f"standardized got {sizes(shape)}, wanted [time, variables]")
        children = chain(self.body, shape, at, "body")
        output = last_shape(children, shape)
        if self.restore and (len(output) != SEQUENCE_AXES or output[1] != shape[1]):
            raise at.fault(f"the body makes {sizes(output)} of {sizes(shape)}; wanted [horizon, variables] of as many "
                           "variables, or `restore: false`")  # fmt: skip
        return at.node(self, shape, output, children=children)


@dataclass(frozen=True, kw_only=True)
class Patches(Block):
    """Windows of frames as frames: [time, features] to [patches, features * length], the oldest left out."""

    kind: ClassVar[str] = "patches"

    length: int = setting(least=1)
    """Frames a patch."""
    stride: int = setting(1, least=1)
    """Frames from one patch to the next."""
    pad: int = setting(0, least=0)
    """How often the last frame is said again at the end before."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the last patch ends with the last frame."""
        time, wide = sequence(self, shape, at)
        count = window(None if time is None else time + self.pad, self.length, self.stride, 0, at, "frames")
        return at.node(self, shape, (count, wide * self.length))
