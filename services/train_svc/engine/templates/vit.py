"""ViT: a Transformer encoder over the patches of a picture (Dosovitskiy et al. 2021, arXiv 2010.11929).

The sizes tiny and small are those of DeiT (Touvron et al. 2021, arXiv 2012.12877).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Repeat, Residual
from services.train_svc.engine.architecture.blocks.convolution import Conv2d
from services.train_svc.engine.architecture.blocks.elementwise import Gelu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import LayerNorm
from services.train_svc.engine.architecture.blocks.positions import ClassToken, LearnedPositions
from services.train_svc.engine.architecture.blocks.reshape import Select, ToSequence
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import setting
from services.train_svc.engine.templates.convnet import PictureOptions, dropout
from services.train_svc.engine.templates.entry import Template

LARGE: Mapping[str, Any] = {"num_layers": 24, "d_model": 1024, "attention_heads": 16, "feed_forward": 4096}
SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"d_model": 192, "attention_heads": 3, "feed_forward": 768},
    "small": {"d_model": 384, "attention_heads": 6, "feed_forward": 1536},
    "base": {},
    "base32": {"patch_size": 32},
    "large": LARGE,
    "large32": {**LARGE, "patch_size": 32},
    "huge": {"patch_size": 14, "num_layers": 32, "d_model": 1280, "attention_heads": 16, "feed_forward": 5120},
}
STD, EPS = 0.02, 1e-6


@dataclass(frozen=True, kw_only=True)
class Vit(PictureOptions):
    """Options of `vit`; the defaults are ViT-B/16."""

    patch_size: int = setting(16, least=1)
    """Pixels on a side of a patch; what is left of the picture after whole patches is not seen."""
    num_layers: int = setting(12, least=1)
    """Layers of attention and feed-forward."""
    d_model: int = setting(768, least=1)
    """Features of a patch."""
    attention_heads: int = setting(12, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(3072, least=1)
    """Features inside the feed-forward layers."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the values zeroed while training; the paper has 0.1 without pre-training."""


def build(options: Vit) -> Description:
    """Return the encoder with a classifier on the class token."""
    size, wide = options.patch_size, options.d_model
    patches = (options.image_height // size) * (options.image_width // size)
    layer = (_residual("attend", (Attention(heads=options.attention_heads, init_std=STD),), options), _feed(options))
    return Description(
        name="vit",
        input_shape=options.input_shape,
        body=(
            Conv2d(name="patches", out_channels=wide, kernel_size=size, stride=size, padding=0, init_std=STD),
            ToSequence(),
            ClassToken(),
            LearnedPositions(name="positions", length=patches + 1, init_std=STD),
            *dropout(options.dropout),
            Repeat(name="layers", times=options.num_layers, body=layer),
            # Each frame is normalised alone, so that only the one that is read needs it.
            Select(),
            LayerNorm(name="norm", eps=EPS),
            Linear(name="classifier", out_features=options.num_classes, init_std=STD),
        ),
    )


def _feed(options: Vit) -> Residual:
    up = Linear(name="up", out_features=options.feed_forward, init_std=STD, split="column")
    down = Linear(name="down", out_features=options.d_model, init_std=STD, split="row")
    return _residual("feed", (up, Gelu(), *dropout(options.dropout), down), options)


def _residual(name: str, body: tuple[Block, ...], options: Vit) -> Residual:
    return Residual(name=name, body=(LayerNorm(name="norm", eps=EPS), *body, *dropout(options.dropout)))


LAYER, OURS = r"(?:vit\.)?encoder\.layer\.(\d+)\.", r"layers.\1."
HUGGINGFACE = (
    rule(r"(?:vit\.)?embeddings\.cls_token", "class_token.weight"),
    rule(r"(?:vit\.)?embeddings\.position_embeddings", "positions.weight"),
    rule(r"(?:vit\.)?embeddings\.patch_embeddings\.projection\.(\w+)", r"patches.\1"),
    rule(LAYER + r"layernorm_before\.(\w+)", OURS + r"attend.body.norm.\2"),
    rule(LAYER + r"attention\.attention\.(query|key|value)\.(\w+)", OURS + r"attend.body.attention.\2.\3"),
    rule(LAYER + r"attention\.output\.dense\.(\w+)", OURS + r"attend.body.attention.output.\2"),
    rule(LAYER + r"layernorm_after\.(\w+)", OURS + r"feed.body.norm.\2"),
    rule(LAYER + r"intermediate\.dense\.(\w+)", OURS + r"feed.body.up.\2"),
    rule(LAYER + r"output\.dense\.(\w+)", OURS + r"feed.body.down.\2"),
    rule(r"(?:vit\.)?layernorm\.(\w+)", r"norm.\1"),
    # A layer of the pre-trained model that its classifiers do not use.
    rule(r"(?:vit\.)?pooler\..*"),
    rule(r"classifier\.(\w+)", r"classifier.\1"),
)

TEMPLATE = Template(
    name="vit",
    title="ViT",
    domain="vision",
    paper="Dosovitskiy et al. 2021, arXiv 2010.11929",
    sizes=SIZES,
    options=Vit,
    build=build,
    huggingface=HUGGINGFACE,
)
