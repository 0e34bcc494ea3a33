"""Swin: a Transformer whose attention stays inside shifted windows of a picture (Liu et al. 2021, arXiv 2103.14030)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description
from services.train_svc.engine.architecture.blocks.combine import Residual, Sequential
from services.train_svc.engine.architecture.blocks.convolution import Conv2d, Pad2d
from services.train_svc.engine.architecture.blocks.elementwise import Gelu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import LayerNorm
from services.train_svc.engine.architecture.blocks.pixels import Pixels, SpaceToDepth
from services.train_svc.engine.architecture.blocks.reshape import GlobalAvgPool
from services.train_svc.engine.architecture.blocks.windows import WindowAttention
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import fault, setting
from services.train_svc.engine.templates.convnet import PictureOptions, drop_path, dropout
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {},
    "small": {"num_layers": (2, 2, 18, 2), "drop_path": 0.3},
    "base": {"num_layers": (2, 2, 18, 2), "d_model": 128, "attention_heads": (4, 8, 16, 32), "drop_path": 0.5},
    "large": {"num_layers": (2, 2, 18, 2), "d_model": 192, "attention_heads": (6, 12, 24, 48), "drop_path": 0.2},
}
STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Swin(PictureOptions):
    """Options of `swin`; the defaults are Swin-T."""

    patch_size: int = setting(4, least=1)
    """Pixels on a side of a patch; the picture is padded at the bottom and on the right to whole patches."""
    window: int = setting(7, least=1)
    """Patches on a side of a window; every second layer's windows are shifted by half of it."""
    num_layers: tuple[int, ...] = setting((2, 2, 6, 2), least=1)
    """Layers of each stage; each stage but the first halves the picture's sides."""
    d_model: int = setting(96, least=1)
    """Features of a patch in the first stage; each further stage doubles them."""
    attention_heads: tuple[int, ...] = setting((3, 6, 12, 24), least=1)
    """Heads of the attentions of each stage."""
    feed_forward: int = setting(4, least=1)
    """Features inside the feed-forward layers, as a multiple of those outside."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the values zeroed while training."""
    drop_path: float = setting(0.2, least=0, below=1)
    """Share of the samples whose last layer's branches are left out while training; less in the layers before."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: with one violation a fault.
        """
        super().__post_init__()
        if len(self.attention_heads) != len(self.num_layers):
            stages = len(self.num_layers)
            raise fault("attention_heads", f"got {len(self.attention_heads)} numbers for the {stages} of num_layers")


def build(options: Swin) -> Description:
    """Return the stages with a classifier on the mean of the last one's pixels."""
    size = options.patch_size
    right, bottom = -options.image_width % size, -options.image_height % size
    padding = (Pad2d(right=right, bottom=bottom),) if right or bottom else ()
    stages = (_stage(options, index) for index in range(len(options.num_layers)))
    return Description(
        name="swin",
        input_shape=options.input_shape,
        body=(
            *padding,
            Conv2d(name="patches", out_channels=options.d_model, kernel_size=size, stride=size, padding=0,
                   init_std=STD),
            LayerNorm(name="patches_norm"),
            *dropout(options.dropout),
            *stages,
            LayerNorm(name="norm"),
            GlobalAvgPool(),
            Linear(name="classifier", out_features=options.num_classes, init_std=STD),
        ),
    )  # fmt: skip


def _stage(options: Swin, index: int) -> Sequential:
    layers = (_layer(options, index, layer) for layer in range(options.num_layers[index]))
    last = index == len(options.num_layers) - 1
    half = Linear(name="reduction", out_features=options.d_model * 2 ** (index + 1), bias=False, init_std=STD)
    halving = () if last else (SpaceToDepth(), Pixels(name="merge", body=(LayerNorm(name="norm"), half)))
    return Sequential(name=f"stage{index}", body=(*layers, *halving))


def _layer(options: Swin, stage: int, index: int) -> Sequential:
    before, total = sum(options.num_layers[:stage]) + index, sum(options.num_layers)
    rate = options.drop_path * before / max(total - 1, 1)
    after: tuple[Block, ...] = (*dropout(options.dropout), *drop_path(rate))
    shift = options.window // 2 if index % 2 else 0
    attention = WindowAttention(
        name="attention", heads=options.attention_heads[stage], window=options.window, shift=shift, init_std=STD
    )
    attend = Residual(name="attend", body=(LayerNorm(name="norm"), attention, *after))
    wide = options.d_model * 2**stage
    body = (
        LayerNorm(name="norm"),
        Linear(name="up", out_features=wide * options.feed_forward, init_std=STD, split="column"),
        Gelu(),
        *dropout(options.dropout),
        Linear(name="down", out_features=wide, init_std=STD, split="row"),
    )
    feed = Residual(name="feed", body=(Pixels(name="mlp", body=body), *after))
    return Sequential(name=f"layer{index}", body=(attend, feed))


LAYER, OURS = r"(?:swin\.)?encoder\.layers\.(\d+)\.blocks\.(\d+)\.", r"stage\1.layer\2."
HUGGINGFACE = (
    rule(r"(?:swin\.)?embeddings\.patch_embeddings\.projection\.(\w+)", r"patches.\1"),
    rule(r"(?:swin\.)?embeddings\.norm\.(\w+)", r"patches_norm.\1"),
    rule(LAYER + r"layernorm_before\.(\w+)", OURS + r"attend.body.norm.\3"),
    rule(LAYER + r"attention\.self\.(query|key|value)\.(\w+)", OURS + r"attend.body.attention.\3.\4"),
    rule(LAYER + r"attention\.self\.relative_position_bias_table", OURS + r"attend.body.attention.table"),
    rule(LAYER + r"attention\.self\.relative_position_index"),
    rule(LAYER + r"attention\.output\.dense\.(\w+)", OURS + r"attend.body.attention.output.\3"),
    rule(LAYER + r"layernorm_after\.(\w+)", OURS + r"feed.body.mlp.norm.\3"),
    rule(LAYER + r"intermediate\.dense\.(\w+)", OURS + r"feed.body.mlp.up.\3"),
    rule(LAYER + r"output\.dense\.(\w+)", OURS + r"feed.body.mlp.down.\3"),
    rule(r"(?:swin\.)?encoder\.layers\.(\d+)\.downsample\.(\w+)\.(\w+)", r"stage\1.merge.\2.\3"),
    rule(r"(?:swin\.)?layernorm\.(\w+)", r"norm.\1"),
    rule(r"classifier\.(\w+)", r"classifier.\1"),
)

TEMPLATE = Template(
    name="swin",
    title="Swin Transformer",
    domain="vision",
    paper="Liu et al. 2021, arXiv 2103.14030",
    sizes=SIZES,
    options=Swin,
    build=build,
    huggingface=HUGGINGFACE,
)
