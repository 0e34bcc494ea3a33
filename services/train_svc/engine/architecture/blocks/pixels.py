"""Pictures as rows of pixels and back, at other sizes, and with pixels moved into channels."""

from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block, chain, last_shape
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.blocks.convolution import picture
from services.train_svc.engine.architecture.node import Node, Place, Shape, times
from services.train_svc.engine.reading import setting


@dataclass(frozen=True, kw_only=True)
class Pixels(Block):
    """Runs its blocks over the pixels of a picture as a sequence: [C, H, W] to [C', H, W].

    Linear layers between pictures stand in it: it moves no memory where the channels of a pixel lie side by side, as
    they do after a `layer_norm`.
    """

    kind: ClassVar[str] = "pixels"

    body: tuple[Block, ...] = ()
    """Blocks from [H * W, C] to [H * W, C']."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        channels, height, width = picture(self, shape, at)
        rows = (times(height, width) or None, channels)
        children = chain(self.body, rows, at, "body")
        output = last_shape(children, rows)
        if len(output) != len(rows) or output[0] != rows[0]:
            raise at.fault(f"the body makes {sizes(output)} of {sizes(rows)}; it must keep the number of pixels")
        return at.node(self, shape, (output[1], height, width), children=children)


@dataclass(frozen=True, kw_only=True)
class Resize(Block):
    """A larger or smaller picture by bilinear interpolation: [C, H, W] to [C, H', W'].

    Pixels are areas, not points at corners (torch's `align_corners=False`), and a smaller picture is not blurred first.
    """

    kind: ClassVar[str] = "resize"

    factor: int = setting(1, least=1)
    """How many times as high and as wide; not used where `like` is given."""
    like: str = ""
    """A named picture to be as high and as wide as."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        channels, *sides = picture(self, shape, at)
        out = (
            picture(self, at.value(self.like), at)[1:] if self.like else [side and side * self.factor for side in sides]
        )
        return at.node(self, shape, (channels, *out))


@dataclass(frozen=True, kw_only=True)
class SpaceToDepth(Block):
    """Each square of pixels as the channels of one: [C, H, W] to [factor^2 C, H / factor, W / factor].

    Channels of a square's first column come first, from top to bottom, as Swin's patch merging has it (arXiv
    2103.14030). A picture that squares do not fill is padded with zeros at the bottom and on the right.
    """

    kind: ClassVar[str] = "space_to_depth"

    factor: int = setting(2, least=1)
    """Pixels on a side of a square."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node."""
        channels, *sides = picture(self, shape, at)
        out = [side and -(-side // self.factor) for side in sides]
        return at.node(self, shape, (channels * self.factor**2, *out))
