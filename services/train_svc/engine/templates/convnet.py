"""What the templates for pictures share: their options, and the groups of layers that recur in them."""

import dataclasses
from dataclasses import dataclass

from services.train_svc.engine.architecture import Block
from services.train_svc.engine.architecture.blocks.convolution import Conv2d, Pad2d
from services.train_svc.engine.architecture.blocks.normalization import BatchNorm, Dropout, DropPath
from services.train_svc.engine.reading import Checked, setting

Sides = tuple[int, int]
"""Height and width in pixels."""
NORM = BatchNorm()


@dataclass(frozen=True, kw_only=True)
class PictureOptions(Checked):
    """Options of every classifier of pictures."""

    in_channels: int = setting(3, least=1)
    """Channels of a picture: 1 grey, 3 colour."""
    image_height: int = setting(224, least=1)
    """Pixels from top to bottom."""
    image_width: int = setting(224, least=1)
    """Pixels from left to right."""
    num_classes: int = setting(1000, least=1)
    """Classes to tell apart."""

    @property
    def sides(self) -> Sides:
        """Height and width in pixels."""
        return self.image_height, self.image_width

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Sizes of one picture: [channels, height, width]."""
        return self.in_channels, *self.sides


def conv_norm(
    name: str,
    channels: int,
    kernel_size: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    norm: BatchNorm = NORM,
    activation: Block | None = None,
    same: Sides | None = None,
) -> tuple[Block, ...]:
    """Return a convolution, its batch norm `<name>_norm`, and an activation where one is given.

    Args:
        name: of the convolution.
        channels: that it makes.
        kernel_size: pixels on a side, an odd number.
        stride: pixels from one output to the next.
        groups: of channels that do not see one another.
        norm: the batch norm, whose name does not matter.
        activation: what follows; None: nothing.
        same: the input's sides, to pad as TensorFlow's `SAME` does; None: by half a kernel on each side.
    """
    before: tuple[Block, ...] = ()
    top, bottom, left, right = pads(same, kernel_size, stride)
    padding = kernel_size // 2
    if {top, bottom, left, right} != {padding}:
        before = (Pad2d(name=f"{name}_pad", left=left, right=right, top=top, bottom=bottom),)
        padding = 0
    convolution = Conv2d(name=name, out_channels=channels, kernel_size=kernel_size, stride=stride, padding=padding,
                         groups=groups, bias=False)  # fmt: skip
    normed = (*before, convolution, dataclasses.replace(norm, name=f"{name}_norm"))
    return (*normed, activation) if activation else normed


def pads(sides: Sides | None, kernel_size: int, stride: int) -> tuple[int, int, int, int]:
    """Return zeros at the top, bottom, left and right, as TensorFlow's `SAME` has them; None: half a kernel each."""
    if sides is None:
        return (kernel_size // 2,) * 4
    totals = [max((up(side, stride) - 1) * stride + kernel_size - side, 0) for side in sides]
    # TensorFlow puts the odd pixel after the picture, torch's own padding is even: at stride 2 they see other pixels.
    tall, wide = totals
    return tall // 2, tall - tall // 2, wide // 2, wide - wide // 2


def up(size: int, stride: int) -> int:
    """Return size / stride, rounded up: what a convolution padded by half a kernel leaves of a side."""
    return -(-size // stride)


def strided(sides: Sides | None, stride: int) -> Sides | None:
    """Return what a padded convolution leaves of the sides."""
    return sides and (up(sides[0], stride), up(sides[1], stride))


def drop_path(rate: float) -> tuple[Block, ...]:
    """Return stochastic depth; nothing at rate 0, which would cost a call."""
    return (DropPath(rate=rate),) if rate else ()


def dropout(rate: float) -> tuple[Block, ...]:
    """Return dropout; nothing at rate 0, which would cost a call."""
    return (Dropout(rate=rate),) if rate else ()
