"""MobileNetV3: small, quick networks found by search (Howard et al. 2019, arXiv 1905.02244)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.blocks.elementwise import HardSigmoid, HardSwish, Relu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.templates.convnet import dropout
from services.train_svc.engine.templates.entry import Template
from services.train_svc.engine.templates.mobile import (
    InvertedBottleneck,
    MobileOptions,
    backbone,
    divisible,
    squeeze_excite,
)

SIZES: Mapping[str, Mapping[str, Any]] = {"large": {}, "small": {"layout": "small"}}


class Row(NamedTuple):
    """A row of the paper's tables 1 and 2."""

    kernel_size: int
    """Pixels on a side."""
    expanded: int
    """Channels inside the block."""
    channels: int
    """That it makes."""
    gated: bool
    """Whether it has squeeze-and-excitation."""
    hard_swish: bool
    """Its activation; False: ReLU."""
    stride: int
    """Of its depthwise convolution."""


LARGE = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
    Row(5, 672, 160, True, True, 2),
    Row(5, 960, 160, True, True, 1),
    Row(5, 960, 160, True, True, 1),
)
SMALL = (
    Row(3, 16, 16, True, False, 2),
    Row(3, 72, 24, False, False, 2),
    Row(3, 88, 24, False, False, 1),
    Row(5, 96, 40, True, True, 2),
    Row(5, 240, 40, True, True, 1),
    Row(5, 240, 40, True, True, 1),
    Row(5, 120, 48, True, True, 1),
    Row(5, 144, 48, True, True, 1),
    Row(5, 288, 96, True, True, 2),
    Row(5, 576, 96, True, True, 1),
    Row(5, 576, 96, True, True, 1),
)
ROWS = {"large": LARGE, "small": SMALL}
STEM, TOP, HIDDEN, SQUEEZE = 16, 6, {"large": 1280, "small": 1024}, 4
STD = 0.01


@dataclass(frozen=True, kw_only=True)
class MobilenetV3(MobileOptions):
    """Options of `mobilenet_v3`; the defaults are MobileNetV3-Large."""

    layout: Literal["large", "small"] = "large"
    """Whose rows: those of the paper's table 1 or 2."""


def build(options: MobilenetV3) -> Description:
    """Return the network: stem, inverted bottlenecks, pooling, a hidden layer, classifier."""
    swish, top = HardSwish(), TOP * options.width(ROWS[options.layout][-1].channels)
    return Description(
        name="mobilenet_v3",
        input_shape=options.input_shape,
        body=(
            *backbone(options, options.width(STEM), _bottlenecks(options), top, swish),
            Linear(name="hidden", out_features=options.width(HIDDEN[options.layout]), init_std=STD),
            swish,
            *dropout(options.dropout),
            Linear(name="classifier", out_features=options.num_classes, init_std=STD),
        ),
    )


def _bottlenecks(options: MobilenetV3) -> Iterator[InvertedBottleneck]:
    channels = options.width(STEM)
    for row in ROWS[options.layout]:
        yield _bottleneck(options, row, channels)
        channels = options.width(row.channels)


def _bottleneck(options: MobilenetV3, row: Row, inner: int) -> InvertedBottleneck:
    wide = options.width(row.expanded)
    return InvertedBottleneck(
        in_channels=inner,
        expanded=wide,
        out_channels=options.width(row.channels),
        kernel_size=row.kernel_size,
        stride=row.stride,
        activation=HardSwish() if row.hard_swish else Relu(),
        gate=squeeze_excite(wide, divisible(wide / SQUEEZE), Relu(), HardSigmoid()) if row.gated else None,
    )


TEMPLATE = Template(
    name="mobilenet_v3",
    title="MobileNetV3",
    domain="vision",
    paper="Howard et al. 2019, arXiv 1905.02244",
    aliases=("MobileNet",),
    sizes=SIZES,
    options=MobilenetV3,
    build=build,
)
