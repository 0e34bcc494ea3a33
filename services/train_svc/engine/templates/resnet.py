"""ResNet: residual networks for pictures (He et al. 2016, arXiv 1512.03385).

The stride of a bottleneck is in its 3x3 convolution, as torchvision and Hugging Face have it ("version 1.5"), which is
a little better than the paper's, where it is in the first 1x1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description
from services.train_svc.engine.architecture.blocks.combine import Residual, Sequential
from services.train_svc.engine.architecture.blocks.elementwise import Relu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.reshape import GlobalAvgPool, MaxPool2d
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import setting
from services.train_svc.engine.templates.convnet import PictureOptions, conv_norm, dropout
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {
    "18": {"bottleneck": False, "depths": (2, 2, 2, 2)},
    "34": {"bottleneck": False, "depths": (3, 4, 6, 3)},
    "50": {},
    "101": {"depths": (3, 4, 23, 3)},
    "152": {"depths": (3, 8, 36, 3)},
}
EXPANSION = 4


@dataclass(frozen=True, kw_only=True)
class Resnet(PictureOptions):
    """Options of `resnet`; the defaults are ResNet-50."""

    depths: tuple[int, ...] = setting((3, 4, 6, 3), least=1)
    """Residual blocks of each stage; each stage but the first halves the picture and doubles the channels."""
    bottleneck: bool = True
    """Blocks are 1x1, 3x3, 1x1 with 4 times the channels at their ends; False: two 3x3."""
    width: int = setting(64, least=1)
    """Channels of the stem and of the first stage's 3x3 convolutions."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the features zeroed before the classifier."""


def build(options: Resnet) -> Description:
    """Return the network: stem, stages, pooling, classifier."""
    stem = (*conv_norm("conv", options.width, 7, 2, activation=Relu()), MaxPool2d(kernel_size=3, padding=1))
    return Description(
        name="resnet",
        input_shape=options.input_shape,
        body=(
            Sequential(name="stem", body=stem),
            *(_stage(options, index) for index in range(len(options.depths))),
            GlobalAvgPool(name="pool"),
            *dropout(options.dropout),
            Linear(name="classifier", out_features=options.num_classes),
        ),
    )


def _stage(options: Resnet, index: int) -> Sequential:
    channels = options.width * 2**index
    blocks: list[Block] = []
    for position in range(options.depths[index]):
        stride = 2 if index > 0 and position == 0 else 1
        changes = position == 0 and (index > 0 or options.bottleneck)
        blocks += [_residual(f"block{position}", options, channels, stride, changes=changes), Relu()]
    return Sequential(name=f"stage{index}", body=tuple(blocks))


def _residual(name: str, options: Resnet, channels: int, stride: int, *, changes: bool) -> Residual:
    relu, outer = Relu(), channels * (EXPANSION if options.bottleneck else 1)
    if options.bottleneck:
        body = (
            *conv_norm("conv0", channels, activation=relu),
            *conv_norm("conv1", channels, 3, stride, activation=relu),
            *conv_norm("conv2", outer),
        )
    else:
        body = (*conv_norm("conv0", channels, 3, stride, activation=relu), *conv_norm("conv1", channels, 3))
    return Residual(name=name, body=body, shortcut=conv_norm("conv", outer, 1, stride) if changes else ())


MODEL, LAYER, OURS = r"(?:resnet\.)?", r"encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"stage\1.block\2."
HUGGINGFACE = (
    rule(MODEL + r"embedder\.embedder\.convolution\.(\w+)", r"stem.conv.\1"),
    rule(MODEL + r"embedder\.embedder\.normalization\.(\w+)", r"stem.conv_norm.\1"),
    rule(MODEL + LAYER + r"layer\.(\d)\.convolution\.(\w+)", OURS + r"body.conv\3.\4"),
    rule(MODEL + LAYER + r"layer\.(\d)\.normalization\.(\w+)", OURS + r"body.conv\3_norm.\4"),
    rule(MODEL + LAYER + r"shortcut\.convolution\.(\w+)", OURS + r"shortcut.conv.\3"),
    rule(MODEL + LAYER + r"shortcut\.normalization\.(\w+)", OURS + r"shortcut.conv_norm.\3"),
    rule(r"classifier\.1\.(\w+)", r"classifier.\1"),
)

TEMPLATE = Template(
    name="resnet",
    title="ResNet",
    domain="vision",
    paper="He et al. 2016, arXiv 1512.03385",
    sizes=SIZES,
    options=Resnet,
    build=build,
    huggingface=HUGGINGFACE,
)
