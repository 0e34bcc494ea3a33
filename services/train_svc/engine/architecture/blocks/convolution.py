"""Convolutions over pictures and over time, and padding."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.combine import sizes
from services.train_svc.engine.architecture.node import (
    PICTURE_AXES,
    SEQUENCE_AXES,
    Init,
    Node,
    Param,
    Place,
    Shape,
    Size,
    State,
    times,
)
from services.train_svc.engine.reading import setting

HALF = -1
"""Padding by half a kernel, which keeps the size at stride 1 for odd kernels."""
SAME = -2
"""Padding by kernel_size - 1 in all, the odd one on the right, which keeps the time at stride 1 for all kernels."""


@dataclass(frozen=True, kw_only=True)
class Conv2d(Block):
    """Cross-correlation of [C, H, W] with `out_channels` kernels."""

    kind: ClassVar[str] = "conv2d"

    out_channels: int = setting(least=1)
    """Channels of the output; those of the input are inferred."""
    kernel_size: int = setting(3, least=1)
    """Pixels on a side."""
    stride: int = setting(1, least=1)
    """Pixels from one output to the next."""
    padding: int = setting(HALF, least=-1)
    """Zeros added on each side; -1: half a kernel."""
    groups: int = setting(1, least=1)
    """Groups of channels that do not see one another; as many as channels: depthwise."""
    bias: bool = True
    """Add a learned number to each channel; pointless before a `batch_norm`."""
    init_std: float = setting(0.0, least=0)
    """Standard deviation of the first kernels; 0: He's normal by fan-out (arXiv 1502.01852)."""

    @property
    def pad(self) -> int:
        """Zeros added on each side."""
        return self.kernel_size // 2 if self.padding == HALF else self.padding

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node: [out_channels, H', W']."""
        channels, *sides = picture(self, shape, at)
        inner = grouped_inputs(channels, self.out_channels, self.groups, at)
        out = [window(side, self.kernel_size, self.stride, self.pad, at) for side in sides]
        area = self.kernel_size**2
        std = self.init_std or math.sqrt(2 / (self.out_channels * area / self.groups))
        kernel = (self.out_channels, inner, self.kernel_size, self.kernel_size)
        layout = "depthwise2d" if inner == 1 and self.groups > 1 else "conv2d"
        parameters = {"weight": Param(shape=kernel, init=Init("normal", std), layout=layout)}
        if self.bias:
            parameters["bias"] = Param(shape=(self.out_channels,))
        cost = times(*out, self.out_channels, inner, area)
        return at.node(self, shape, (self.out_channels, *out), parameters=parameters, multiply_adds=cost)


@dataclass(frozen=True, kw_only=True)
class Conv1d(Block):
    """Cross-correlation over the time of [time, features]."""

    kind: ClassVar[str] = "conv1d"

    out_features: int = setting(least=1)
    """Features of the output; those of the input are inferred."""
    kernel_size: int = setting(3, least=1)
    """Frames that one output sees."""
    stride: int = setting(1, least=1)
    """Frames from one output to the next; lengths shrink with it."""
    padding: int = setting(HALF, least=SAME)
    """Zeros added on each side; -1: half a kernel; -2: kernel_size - 1 in all. Not used where `causal`."""
    causal: bool = False
    """Pad by kernel_size - stride on the left alone: an output sees no later frame than the stride that it stands for.
    In a stream the left is carried; feed a multiple of the stride."""
    groups: int = setting(1, least=1)
    """Groups of features that do not see one another; as many as features: depthwise."""
    bias: bool = True
    """Add a learned number to each feature."""
    mask_padding: bool = False
    """Zero what is padding before the convolution, so that it does not leak into the samples' ends."""
    init: Literal["uniform", "normal"] = "uniform"
    """Uniform within 1/sqrt(fan-in), as torch has it; or He's normal by fan-in."""
    init_gain: float = setting(0.0, least=0)
    """Above 0: the first weights are uniform within this times sqrt(6 / (fan-in + fan-out)) instead."""

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros added on the left and on the right."""
        if self.causal:
            return max(self.kernel_size - self.stride, 0), 0
        if self.padding == SAME:
            return (self.kernel_size - 1) // 2, self.kernel_size // 2
        each = self.kernel_size // 2 if self.padding == HALF else self.padding
        return each, each

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node: [time', out_features]."""
        if len(shape) != SEQUENCE_AXES or shape[1] is None:
            raise at.fault(f"{self.kind} got an input of shape {sizes(shape)}, wanted [time, features]")
        inner = grouped_inputs(shape[1], self.out_features, self.groups, at)
        left, right = self.pads
        out = window(shape[0], self.kernel_size, self.stride, (left + right) / 2, at, "frames")
        fan_in = inner * self.kernel_size
        bound = Init("uniform", 1 / math.sqrt(fan_in))
        kernel = Init("normal", math.sqrt(2 / fan_in)) if self.init == "normal" else bound
        if self.init_gain:
            fan_out = self.out_features * self.kernel_size // self.groups
            kernel = Init("uniform", self.init_gain * math.sqrt(6 / (fan_in + fan_out)))
        weight = Param(shape=(self.out_features, inner, self.kernel_size), init=kernel, layout="conv1d")
        parameters = {"weight": weight}
        if self.bias:
            parameters["bias"] = Param(shape=(self.out_features,), init=bound)
        states = {"left": State(shape=(left, shape[1]))} if self.causal and left else {}
        cost = times(out, self.out_features, fan_in)
        return at.node(self, shape, (out, self.out_features), parameters=parameters, states=states, multiply_adds=cost)


@dataclass(frozen=True, kw_only=True)
class FrameConv2d(Block):
    """Cross-correlation over time and bands of spectra: [time, channels * bands] to [time', out_channels * bands'].

    A frame holds one channel's bands after the other's. It is `conv2d` for sequences, and knows padding and streams.
    """

    kind: ClassVar[str] = "frame_conv2d"

    out_channels: int = setting(least=1)
    """Channels of the output; those of the input are inferred."""
    bands: int = setting(least=1)
    """Bands of each channel of the input."""
    kernel_size: int = setting(3, least=1)
    """Frames, and bands, that one output sees."""
    stride: int = setting(2, least=1)
    """Frames, and bands, from one output to the next; lengths shrink with it."""
    padding: int = setting(HALF, least=-1)
    """Zeros added on each side; -1: half a kernel."""
    causal: bool = False
    """Pad the time by kernel_size - stride on the left alone; see `conv1d`."""
    bias: bool = True
    """Add a learned number to each channel."""
    mask_padding: bool = False
    """Zero what is padding before the convolution, so that it does not leak into the samples' ends."""

    @property
    def pad(self) -> int:
        """Bands of zeros on each side."""
        return self.kernel_size // 2 if self.padding == HALF else self.padding

    @property
    def pads(self) -> tuple[int, int]:
        """Frames of zeros on the left and on the right."""
        return (max(self.kernel_size - self.stride, 0), 0) if self.causal else (self.pad, self.pad)

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node: [time', out_channels * bands']."""
        if len(shape) != SEQUENCE_AXES or shape[1] is None:
            raise at.fault(f"{self.kind} got an input of shape {sizes(shape)}, wanted [time, channels * bands]")
        if shape[1] % self.bands:
            raise at.inside("bands").fault(f"{self.bands} do not divide {shape[1]} features; choose a divisor")
        channels, left = shape[1] // self.bands, self.pads[0]
        time = window(shape[0], self.kernel_size, self.stride, sum(self.pads) / 2, at, "frames")
        bands = window(self.bands, self.kernel_size, self.stride, self.pad, at, "bands")
        fan_in = channels * self.kernel_size**2
        bound = Init("uniform", 1 / math.sqrt(fan_in))
        kernel = (self.out_channels, channels, self.kernel_size, self.kernel_size)
        parameters = {"weight": Param(shape=kernel, init=bound, layout="conv2d")}
        if self.bias:
            parameters["bias"] = Param(shape=(self.out_channels,), init=bound)
        states = {"left": State(shape=(left, shape[1]))} if self.causal and left else {}
        wide = times(self.out_channels, bands)
        cost = times(time, wide, fan_in)
        return at.node(self, shape, (time, wide), parameters=parameters, states=states, multiply_adds=cost)


@dataclass(frozen=True, kw_only=True)
class Pad2d(Block):
    """Zeros around a picture, each side apart, as strided convolutions of TensorFlow's `SAME` need them."""

    kind: ClassVar[str] = "pad2d"

    left: int = setting(0, least=0)
    """Columns before the first."""
    right: int = setting(0, least=0)
    """Columns after the last."""
    top: int = setting(0, least=0)
    """Rows above the first."""
    bottom: int = setting(0, least=0)
    """Rows below the last."""

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node: [C, H + top + bottom, W + left + right]."""
        channels, height, width = picture(self, shape, at)
        tall = None if height is None else height + self.top + self.bottom
        wide = None if width is None else width + self.left + self.right
        return at.node(self, shape, (channels, tall, wide))


def picture(block: Block, shape: Shape, at: Place) -> tuple[int, Size, Size]:
    """Return channels, height and width.

    Raises:
        InvalidError: the shape is no picture's.
    """
    if len(shape) != PICTURE_AXES or shape[0] is None:
        message = f"{block.kind} got an input of shape {sizes(shape)}, wanted [channels, height, width]"
        raise at.fault(message)
    return shape[0], shape[1], shape[2]


def window(  # noqa: PLR0917 - a window, its place, and the word for its unit
    size: Size, kernel: int, stride: int, padding: float, at: Place, unit: str = "pixels"
) -> Size:
    """Return how many windows fit, with `padding` on each side."""
    if size is None:
        return None
    result = int(size + 2 * padding - kernel) // stride + 1
    if result < 1:
        cure = "make it smaller, or the input larger"
        message = f"a window of {kernel} does not fit into {size} {unit} padded by {padding:g}; {cure}"
        raise at.fault(message)
    return result


def grouped_inputs(inner: int, outer: int, groups: int, at: Place) -> int:
    """Return how many inputs a group has.

    Raises:
        InvalidError: the groups do not divide inputs and outputs.
    """
    if inner % groups or outer % groups:
        message = f"{groups} groups do not divide {inner} inputs and {outer} outputs; choose a divisor of both"
        raise at.inside("groups").fault(message)
    return inner // groups
