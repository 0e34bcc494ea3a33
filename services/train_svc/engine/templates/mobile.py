"""What MobileNetV3 and EfficientNet share: rows of inverted bottlenecks between a stem and a wide last layer."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from services.train_svc.engine.architecture import Block
from services.train_svc.engine.architecture.blocks.combine import Product, Residual, Sequential
from services.train_svc.engine.architecture.blocks.convolution import Conv2d
from services.train_svc.engine.architecture.blocks.normalization import BatchNorm
from services.train_svc.engine.architecture.blocks.reshape import GlobalAvgPool
from services.train_svc.engine.reading import setting
from services.train_svc.engine.templates.convnet import PictureOptions, Sides, conv_norm, drop_path, strided

NORM = BatchNorm(eps=1e-3, momentum=0.01)


@dataclass(frozen=True, kw_only=True)
class MobileOptions(PictureOptions):
    """Options of both."""

    width_coefficient: float = setting(1.0, above=0)
    """Multiplies the channels, which are then rounded to a multiple of 8."""
    padding: Literal["same", "half"] = "same"
    """What strided convolutions add: as TensorFlow's `SAME`, as the authors, Keras and Hugging Face have it; or half a
    kernel on each side, as torchvision has it."""
    dropout: float = setting(0.2, least=0, below=1)
    """Share of the features zeroed before the classifier."""

    def width(self, channels: int) -> int:
        """Return the scaled number of channels."""
        return divisible(channels * self.width_coefficient)


@dataclass(frozen=True, kw_only=True)
class InvertedBottleneck:
    """Widen, convolve each channel alone, gate, narrow (MobileNetV2, arXiv 1801.04381; the gate: 1905.02244)."""

    in_channels: int
    """Channels that come in."""
    expanded: int
    """Channels inside; as many as come in: the widening layer is left out."""
    out_channels: int
    """Channels that go out; as many as come in at stride 1: the input is added."""
    kernel_size: int
    """Pixels on a side of the depthwise convolution."""
    stride: int
    """Of the depthwise convolution."""
    activation: Block
    """After the widening and the depthwise layer."""
    gate: Product | None = None
    """Between the depthwise and the narrowing layer; None: no gate."""
    drop_path: float = 0.0
    """Share of the samples whose body is left out while training."""

    def build(self, name: str, same: Sides | None) -> Block:
        """Return the block.

        Args:
            name: of the block.
            same: the input's sides, to pad as TensorFlow's `SAME` does; None: by half a kernel on each side.
        """
        wide, activation = self.expanded, self.activation
        expand = conv_norm("expand", wide, norm=NORM, activation=activation) if wide != self.in_channels else ()
        depthwise = conv_norm("depthwise", wide, self.kernel_size, self.stride, groups=wide, norm=NORM,
                              activation=activation, same=same)  # fmt: skip
        gate = (self.gate,) if self.gate else ()
        body = (*expand, *depthwise, *gate, *conv_norm("project", self.out_channels, norm=NORM))
        if self.stride == 1 and self.in_channels == self.out_channels:
            return Residual(name=name, body=(*body, *drop_path(self.drop_path)))
        # Named as the residual's body is, so that one rule of a key map fits both.
        return Sequential(name=name, body=(Sequential(name="body", body=body),))


def backbone(
    options: MobileOptions, stem: int, bottlenecks: Iterable[InvertedBottleneck], top: int, activation: Block
) -> tuple[Block, ...]:
    """Return stem, bottlenecks, last convolution and pooling.

    Args:
        options: give the picture's sides and how it is padded.
        stem: channels of the first convolution, which halves the picture.
        bottlenecks: what follows, named `block0`, `block1`, ...
        top: channels of the last convolution.
        activation: of the stem and of the last convolution.
    """
    # `half` needs no sides: its padding does not depend on them.
    sides = options.sides if options.padding == "same" else None
    first = conv_norm("conv", stem, 3, 2, norm=NORM, activation=activation, same=sides)
    sides = strided(sides, 2)
    blocks: list[Block] = []
    for bottleneck in bottlenecks:
        blocks.append(bottleneck.build(f"block{len(blocks)}", sides))
        sides = strided(sides, bottleneck.stride)
    return (
        Sequential(name="stem", body=first),
        Sequential(name="blocks", body=tuple(blocks)),
        Sequential(name="top", body=conv_norm("conv", top, norm=NORM, activation=activation)),
        GlobalAvgPool(name="pool"),
    )


def squeeze_excite(channels: int, inner: int, activation: Block, gate: Block, name: str = "squeeze") -> Product:
    """Return x times a gate that sees the mean of each channel (Hu et al. 2018, arXiv 1709.01507).

    Args:
        channels: of x.
        inner: channels between the two layers of the gate.
        activation: between them.
        gate: after them, between 0 and 1.
        name: of the block.
    """
    reduce = Conv2d(name="reduce", out_channels=inner, kernel_size=1)
    expand = Conv2d(name="expand", out_channels=channels, kernel_size=1)
    return Product(name=name, gate=(GlobalAvgPool(keep_axes=True), reduce, activation, expand, gate))


def divisible(channels: float, divisor: int = 8) -> int:
    """Return a multiple of `divisor` near `channels`, never more than a tenth below it (arXiv 1801.04381)."""
    near = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * channels else near
