"""The blocks. Names and defaults are the field's own (torch.nn where it has the layer)."""

import math
from dataclasses import dataclass
from typing import ClassVar

from services.train_svc.engine.architecture.block import Block, Shape, named
from services.train_svc.engine.reading import fault, join, setting

PICTURE_AXES = 3


def _picture(shape: Shape, path: str, kind: str) -> Shape:
    if len(shape) != PICTURE_AXES:
        raise fault(path, f"{kind} got an input of shape {list(shape)}, wanted [channels, height, width]")
    return shape


def _window(size: int, kernel: int, stride: int, padding: int, path: str) -> int:
    result = (size + 2 * padding - kernel) // stride + 1
    if result < 1:
        raise fault(path, f"a window of {kernel} does not fit into {size} pixels padded by {padding}; make it smaller")
    return result


@dataclass(frozen=True, kw_only=True)
class Conv2d(Block):
    """Cross-correlation of [C, H, W] with `out_channels` kernels, padded by half a kernel on each side."""

    kind: ClassVar[str] = "conv2d"

    out_channels: int = setting(least=1)
    """Channels of the output; those of the input are inferred."""
    kernel_size: int = setting(3, least=1)
    """Pixels on a side."""
    stride: int = setting(1, least=1)
    """Pixels from one output to the next."""
    bias: bool = True
    """Add a learned number to each channel; pointless before a `batch_norm`."""

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return [out_channels, ceil(H / stride), ceil(W / stride)] for odd kernels."""
        _, *sides = _picture(shape, path, self.kind)
        windows = [_window(side, self.kernel_size, self.stride, self.kernel_size // 2, path) for side in sides]
        return (self.out_channels, *windows)


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Block):
    """Normalisation over the batch, a channel at a time (Ioffe and Szegedy 2015, arXiv 1502.03167)."""

    kind: ClassVar[str] = "batch_norm"

    eps: float = setting(1e-5, above=0)
    """Added to the variance."""
    momentum: float = setting(0.1, above=0, most=1)
    """Weight of a new batch in the running averages."""

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return the same shape."""
        return shape


@dataclass(frozen=True, kw_only=True)
class Relu(Block):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return the same shape."""
        return shape


@dataclass(frozen=True, kw_only=True)
class Dropout(Block):
    """Zeroes a share of the values while training and scales the rest up."""

    kind: ClassVar[str] = "dropout"

    rate: float = setting(0.5, least=0, below=1)
    """The share that is zeroed."""

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return the same shape."""
        return shape


@dataclass(frozen=True, kw_only=True)
class MaxPool2d(Block):
    """The largest value of each window of [C, H, W]."""

    kind: ClassVar[str] = "max_pool2d"

    kernel_size: int = setting(2, least=1)
    """Pixels on a side."""
    stride: int = setting(2, least=1)
    """Pixels from one window to the next."""

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return [C, H', W'] without padding."""
        channels, *sides = _picture(shape, path, self.kind)
        return (channels, *(_window(side, self.kernel_size, self.stride, 0, path) for side in sides))


@dataclass(frozen=True, kw_only=True)
class GlobalAvgPool(Block):
    """The mean over height and width: [C, H, W] to [C]."""

    kind: ClassVar[str] = "global_avg_pool"

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return [C]."""
        return _picture(shape, path, self.kind)[:1]


@dataclass(frozen=True, kw_only=True)
class Flatten(Block):
    """All axes of a sample laid end to end."""

    kind: ClassVar[str] = "flatten"

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return [the product of all sizes]."""
        return (math.prod(shape),)


@dataclass(frozen=True, kw_only=True)
class Linear(Block):
    """x W^T + b over the last axis."""

    kind: ClassVar[str] = "linear"

    out_features: int = setting(least=1)
    """Size of the last axis of the output; that of the input is inferred."""
    bias: bool = True
    """Add a learned number to each feature."""

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return the shape with its last size replaced by `out_features`."""
        if len(shape) == PICTURE_AXES:
            message = (
                f"linear got a picture of shape {list(shape)}, wanted [features]; "
                "put 'flatten' or 'global_avg_pool' before it"
            )
            raise fault(path, message)
        return (*shape[:-1], self.out_features)


@dataclass(frozen=True, kw_only=True)
class Sequential(Block):
    """Its blocks one after the other."""

    kind: ClassVar[str] = "sequential"

    body: tuple[Block, ...] = ()
    """The blocks; none: the input itself."""

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return the last block's shape."""
        return chain(self.body, shape, join(path, "body"))


@dataclass(frozen=True, kw_only=True)
class Residual(Block):
    """body(x) + shortcut(x) (He et al. 2016, arXiv 1512.03385)."""

    kind: ClassVar[str] = "residual"

    body: tuple[Block, ...] = ()
    """The branch that learns."""
    shortcut: tuple[Block, ...] = ()
    """The other branch; none: the input itself, whose shape the body must then keep."""

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return the shape that both branches have."""
        body = chain(self.body, shape, join(path, "body"))
        shortcut = chain(self.shortcut, shape, join(path, "shortcut"))
        if body != shortcut:
            message = (
                f"the body makes {list(body)} and the shortcut {list(shortcut)} of {list(shape)}; "
                "they are added, so give the shortcut a conv2d with the body's channels and stride"
            )
            raise fault(path, message)
        return body


def chain(blocks: tuple[Block, ...], shape: Shape, path: str) -> Shape:
    """Return the shape that `blocks`, one after the other, make of `shape`."""
    for index, (_, block) in enumerate(named(blocks, path)):
        shape = block.output_shape(shape, f"{path}[{index}].{block.kind}")
    return shape
