"""EfficientNet: width, depth and resolution scaled together (Tan and Le 2019, arXiv 1905.11946)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.blocks.elementwise import Sigmoid, Silu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import setting
from services.train_svc.engine.templates.convnet import dropout
from services.train_svc.engine.templates.entry import Template
from services.train_svc.engine.templates.mobile import InvertedBottleneck, MobileOptions, backbone, squeeze_excite


def _size(width: float, depth: float, side: int, rate: float) -> dict[str, Any]:
    scale = {"width_coefficient": width, "depth_coefficient": depth}
    return {**scale, "image_height": side, "image_width": side, "dropout": rate}


SIZES: Mapping[str, Mapping[str, Any]] = {
    "b0": _size(1.0, 1.0, 224, 0.2),
    "b1": _size(1.0, 1.1, 240, 0.2),
    "b2": _size(1.1, 1.2, 260, 0.3),
    "b3": _size(1.2, 1.4, 300, 0.3),
    "b4": _size(1.4, 1.8, 380, 0.4),
    "b5": _size(1.6, 2.2, 456, 0.4),
    "b6": _size(1.8, 2.6, 528, 0.5),
    "b7": _size(2.0, 3.1, 600, 0.5),
}


class Stage(NamedTuple):
    """A row of the paper's table 1."""

    blocks: int
    """Before `depth_coefficient`."""
    kernel_size: int
    """Pixels on a side."""
    stride: int
    """Of the first block."""
    expansion: int
    """Channels inside a block / those that come in."""
    channels: int
    """Before `width_coefficient`."""


STEM, TOP, SQUEEZE = 32, 1280, 0.25
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


@dataclass(frozen=True, kw_only=True)
class Efficientnet(MobileOptions):
    """Options of `efficientnet`; the defaults are B0."""

    depth_coefficient: float = setting(1.0, above=0)
    """Multiplies the blocks of each stage, rounded up."""
    drop_path: float = setting(0.2, least=0, below=1)
    """Share of the samples that skip the last block while training; grows from 0 at the first."""


def build(options: Efficientnet) -> Description:
    """Return the network: stem, inverted bottlenecks with squeeze-and-excitation, pooling, classifier."""
    stem, top, classes = options.width(STEM), options.width(TOP), options.num_classes
    return Description(
        name="efficientnet",
        input_shape=options.input_shape,
        body=(
            *backbone(options, stem, _bottlenecks(options), top, Silu()),
            *dropout(options.dropout),
            # The variance of the authors' uniform within 1/sqrt(classes).
            Linear(name="classifier", out_features=classes, init_std=1 / math.sqrt(3 * classes)),
        ),
    )


def _bottlenecks(options: Efficientnet) -> Iterator[InvertedBottleneck]:
    repeats = [math.ceil(stage.blocks * options.depth_coefficient) for stage in STAGES]
    rates = (options.drop_path * index / sum(repeats) for index in count())
    channels = options.width(STEM)
    for stage, times in zip(STAGES, repeats, strict=True):
        for position in range(times):
            outer, stride = options.width(stage.channels), stage.stride if position == 0 else 1
            yield _bottleneck(stage, channels, outer, stride, next(rates))
            channels = outer


def _bottleneck(stage: Stage, inner: int, outer: int, stride: int, rate: float) -> InvertedBottleneck:
    wide = inner * stage.expansion
    return InvertedBottleneck(
        in_channels=inner,
        expanded=wide,
        out_channels=outer,
        kernel_size=stage.kernel_size,
        stride=stride,
        activation=Silu(),
        gate=squeeze_excite(wide, max(1, int(inner * SQUEEZE)), Silu(), Sigmoid()),
        drop_path=rate,
    )


MODEL = r"(?:efficientnet\.)?"
BLOCK, OURS = MODEL + r"encoder\.blocks\.(\d+)\.", r"blocks.block\1.body."
HUGGINGFACE = (
    rule(MODEL + r"embeddings\.convolution\.(\w+)", r"stem.conv.\1"),
    rule(MODEL + r"embeddings\.batchnorm\.(\w+)", r"stem.conv_norm.\1"),
    rule(BLOCK + r"expansion\.expand_conv\.(\w+)", OURS + r"expand.\2"),
    rule(BLOCK + r"expansion\.expand_bn\.(\w+)", OURS + r"expand_norm.\2"),
    rule(BLOCK + r"depthwise_conv\.depthwise_conv\.(\w+)", OURS + r"depthwise.\2"),
    rule(BLOCK + r"depthwise_conv\.depthwise_norm\.(\w+)", OURS + r"depthwise_norm.\2"),
    rule(BLOCK + r"squeeze_excite\.(reduce|expand)\.(\w+)", OURS + r"squeeze.gate.\2.\3"),
    rule(BLOCK + r"projection\.project_conv\.(\w+)", OURS + r"project.\2"),
    rule(BLOCK + r"projection\.project_bn\.(\w+)", OURS + r"project_norm.\2"),
    rule(MODEL + r"encoder\.top_conv\.(\w+)", r"top.conv.\1"),
    rule(MODEL + r"encoder\.top_bn\.(\w+)", r"top.conv_norm.\1"),
    rule(r"classifier\.(\w+)", r"classifier.\1"),
)

TEMPLATE = Template(
    name="efficientnet",
    title="EfficientNet",
    domain="vision",
    paper="Tan and Le 2019, arXiv 1905.11946",
    sizes=SIZES,
    options=Efficientnet,
    build=build,
    huggingface=HUGGINGFACE,
)
