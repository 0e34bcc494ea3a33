"""A residual network for pictures of 8 to 64 pixels: no stem pooling, one halving a stage.

He et al. 2016 (arXiv 1512.03385), section 4.2, whose CIFAR networks have the same form.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description
from services.train_svc.engine.architecture.blocks.combine import Residual, Sequential
from services.train_svc.engine.architecture.blocks.convolution import Conv2d
from services.train_svc.engine.architecture.blocks.elementwise import Relu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import BatchNorm, Dropout
from services.train_svc.engine.architecture.blocks.reshape import GlobalAvgPool
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {
    "digits": {"image_height": 8, "image_width": 8, "in_channels": 1, "stages": 2},
    "cifar": {"image_height": 32, "image_width": 32, "in_channels": 3, "stages": 3, "width": 64, "blocks": 2},
}


@dataclass(frozen=True, kw_only=True)
class ResnetSmall(Checked):
    """Options of `resnet_small`."""

    in_channels: int = setting(1, least=1)
    """Channels of a picture: 1 grey, 3 colour."""
    image_height: int = setting(8, least=1)
    """Pixels from top to bottom."""
    image_width: int = setting(8, least=1)
    """Pixels from left to right."""
    num_classes: int = setting(10, least=2)
    """Classes to tell apart."""
    width: int = setting(32, least=1)
    """Channels of the first stage; each further stage doubles them."""
    stages: int = setting(0, least=0, most=6)
    """Groups of blocks; each but the first halves the picture. 0: as many as bring its side to about 8, 2 to 4."""
    blocks: int = setting(1, least=1)
    """Residual blocks a stage."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the features zeroed before the classifier."""


def build(options: ResnetSmall) -> Description:
    """Return the network: stem, stages of basic blocks, pooling, classifier."""
    stages = tuple(_stage(options, index) for index in range(options.stages or _fitting_stages(options)))
    head: tuple[Block, ...] = (GlobalAvgPool(name="pool"), Linear(name="classifier", out_features=options.num_classes))
    if options.dropout:
        head = (head[0], Dropout(rate=options.dropout), head[1])
    stem = Sequential(name="stem", body=(*_conv(options.width, 3, 1), Relu()))
    return Description(
        name="resnet_small",
        input_shape=(options.in_channels, options.image_height, options.image_width),
        body=(stem, *stages, *head),
    )


def _fitting_stages(options: ResnetSmall) -> int:
    side = min(options.image_height, options.image_width)
    return min(4, max(2, 1 + round(math.log2(max(side, 8) / 8))))


def _stage(options: ResnetSmall, index: int) -> Sequential:
    channels = options.width * 2**index
    blocks: list[Block] = []
    for position in range(options.blocks):
        changes = index > 0 and position == 0
        blocks.append(_basic_block(channels, 2 if changes else 1, f"block{position + 1}", projects=changes))
        blocks.append(Relu())
    return Sequential(name=f"stage{index + 1}", body=tuple(blocks))


def _basic_block(channels: int, stride: int, name: str, *, projects: bool) -> Residual:
    return Residual(
        name=name,
        body=(*_conv(channels, 3, stride), Relu(), *_conv(channels, 3, 1)),
        shortcut=_conv(channels, 1, stride) if projects else (),
    )


def _conv(channels: int, kernel_size: int, stride: int) -> tuple[Block, ...]:
    return (Conv2d(out_channels=channels, kernel_size=kernel_size, stride=stride, bias=False), BatchNorm())


TEMPLATE = Template(
    name="resnet_small",
    title="Residual network for small pictures",
    domain="vision",
    paper="He et al. 2016, arXiv 1512.03385",
    sizes=SIZES,
    options=ResnetSmall,
    build=build,
)
