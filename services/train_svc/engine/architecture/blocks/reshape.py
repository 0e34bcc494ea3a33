"""Pooling, and going from pictures to sequences and vectors."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.blocks.convolution import picture, window
from services.train_svc.engine.architecture.node import SEQUENCE_AXES, Node, Place, Shape, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class MaxPool2d(Block):
    """The largest value of each window of [C, H, W]."""

    kind: ClassVar[str] = "max_pool2d"

    kernel_size: int = setting(2, least=1)
    """Pixels on a side."""
    stride: int = setting(2, least=1)
    """Pixels from one window to the next."""
    padding: int = setting(0, least=0)
    """Pixels added on each side, which are never the largest."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node: [C, H', W']."""
        channels, *sides = picture(self, shape, at)
        out = [window(side, self.kernel_size, self.stride, self.padding, at) for side in sides]
        return at.node(self, shape, (channels, *out))


@dataclass(frozen=True, kw_only=True)
class GlobalAvgPool(Block):
    """The mean over height and width: [C, H, W] to [C]."""

    kind: ClassVar[str] = "global_avg_pool"

    keep_axes: bool = False
    """Give [C, 1, 1] instead, as squeeze-and-excitation needs it."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        channels = picture(self, shape, at)[0]
        return at.node(self, shape, (channels, 1, 1) if self.keep_axes else (channels,))


@dataclass(frozen=True, kw_only=True)
class MeanPool(Block):
    """The mean over time, padding left out: [time, features] to [features]."""

    kind: ClassVar[str] = "mean_pool"

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        return at.node(self, shape, sequence(self, shape, at)[1:])


@dataclass(frozen=True, kw_only=True)
class Flatten(Block):
    """All axes of a sample laid end to end."""

    kind: ClassVar[str] = "flatten"

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node: [the product of all sizes]."""
        if any(size is None for size in shape):
            raise at.fault(f"flatten got {sizes(shape)}, wanted sizes that are all known")
        return at.node(self, shape, (times(*shape),))


@dataclass(frozen=True, kw_only=True)
class ToSequence(Block):
    """A picture read row by row: [C, H, W] to [H * W, C]."""

    kind: ClassVar[str] = "to_sequence"

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        channels, height, width = picture(self, shape, at)
        return at.node(self, shape, (times(height, width) or None, channels))


@dataclass(frozen=True, kw_only=True)
class Select(Block):
    """One frame of a sequence, such as that of the class token: [time, features] to [features]."""

    kind: ClassVar[str] = "select"

    index: int = 0
    """Which; -1: the last."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        return at.node(self, shape, sequence(self, shape, at)[1:])


def sequence(block: Block, shape: Shape, at: Place) -> tuple[int | None, int]:
    """Return time and features.

    Raises:
        InvalidError: the shape is no sequence's.
    """
    if len(shape) != SEQUENCE_AXES or shape[1] is None:
        raise at.fault(f"{block.kind} got an input of shape {sizes(shape)}, wanted [time, features]")
    return shape[0], shape[1]
