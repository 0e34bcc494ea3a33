"""Attention between the pixels of a picture: inside windows, or with fewer keys."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.blocks.convolution import Conv2d, picture
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import LayerNorm
from services.train_svc.engine.architecture.node import Init, Node, Param, Place, Shape, times
from services.train_svc.engine.reading import setting

APART = -100.0
"""Added before the softmax between pixels that the shift brought together, as the paper's code has it."""


@dataclass(frozen=True, kw_only=True)
class WindowAttention(Block):
    """Multi-head attention inside square windows, with a learned bias for each distance (Swin, arXiv 2103.14030).

    A picture that windows do not fill is padded with zeros at the bottom and on the right; they are attended to, as in
    the paper's own code. A picture no larger than a window on one side has windows of that side, not shifted.
    """

    kind: ClassVar[str] = "window_attention"

    heads: int = setting(least=1)
    """How many queries a pixel has."""
    window: int = setting(7, least=1)
    """Pixels on a side of a window."""
    shift: int = setting(0, least=0)
    """Pixels by which the windows are moved, the picture's ends being joined but not attending to each other."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the attention that is zeroed while training."""
    init_std: float = setting(0.0, least=0)
    """Of the four layers; see `linear`."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        channels, height, width = picture(self, shape, at)
        if height is None or width is None:
            raise at.fault(f"{self.kind} got {sizes(shape)}, wanted [channels, height, width] with all of them known")
        if self.shift >= self.window:
            raise at.inside("shift").fault(f"got {self.shift}, wanted less than the window's {self.window}")
        side, _ = self.fitted(height, width)
        pixels, padded = height * width, -(-height // side) * -(-width // side) * side**2
        children = _layers(self, (padded, channels), (padded, channels), (pixels, channels), at)
        table = Param(shape=((2 * side - 1) ** 2, self.heads), init=Init("truncated", 0.02))
        cost = 2 * padded * side**2 * channels
        return at.node(self, shape, shape, children=children, parameters={"table": table}, multiply_adds=cost)

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """Return the window and the shift that a picture of these sides has."""
        if min(height, width) <= self.window:
            return min(height, width), 0
        return self.window, self.shift


@dataclass(frozen=True, kw_only=True)
class SpatialAttention(Block):
    """Multi-head attention of all pixels to a smaller picture (Wang et al. 2021, arXiv 2102.12122, section 3.3)."""

    kind: ClassVar[str] = "spatial_attention"

    heads: int = setting(least=1)
    """How many queries a pixel has."""
    reduction: int = setting(1, least=1)
    """Keys and values are of squares of this many pixels on a side, by a convolution and a norm; 1: of the pixels."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the attention that is zeroed while training."""
    init_std: float = setting(0.0, least=0)
    """Of the four layers and the convolution; see `linear`."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node; the shape stays."""
        channels, height, width = picture(self, shape, at)
        children: dict[str, Node] = {}
        seen = shape
        if self.reduction > 1:
            step = self.reduction
            squares = Conv2d(out_channels=channels, kernel_size=step, stride=step, padding=0, init_std=self.init_std)
            children["reduce"] = at.child("reduce", squares, shape)
            seen = children["reduce"].output_shape
            children["reduce_norm"] = at.child("reduce_norm", LayerNorm(), seen)
        rows, keys = (times(height, width) or None, channels), (times(*seen[1:]) or None, channels)
        children |= _layers(self, rows, keys, rows, at)
        cost = 2 * times(*rows, keys[0])
        return at.node(self, shape, shape, children=children, multiply_adds=cost)


def _layers(
    block: WindowAttention | SpatialAttention, rows: Shape, keys: Shape, out: Shape, at: Place
) -> dict[str, Node]:
    wide = rows[1]
    assert wide is not None
    if wide % block.heads:
        raise at.inside("heads").fault(f"{block.heads} heads do not divide {wide} channels; choose a divisor")
    layer = Linear(out_features=wide, init_std=block.init_std)
    shapes = {"query": rows, "key": keys, "value": keys, "output": out}
    return {name: at.child(name, layer, shape) for name, shape in shapes.items()}
