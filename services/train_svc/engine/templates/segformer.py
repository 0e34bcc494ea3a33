"""SegFormer: a hierarchical Transformer that labels every pixel (Xie et al. 2021, arXiv 2105.15203)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description
from services.train_svc.engine.architecture.blocks.combine import Concat, Load, Part, Residual, Save, Sequential
from services.train_svc.engine.architecture.blocks.convolution import Conv2d
from services.train_svc.engine.architecture.blocks.elementwise import Gelu, Relu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import BatchNorm, LayerNorm
from services.train_svc.engine.architecture.blocks.pixels import Pixels, Resize
from services.train_svc.engine.architecture.blocks.windows import SpatialAttention
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import fault, setting
from services.train_svc.engine.templates.convnet import PictureOptions, drop_path, dropout
from services.train_svc.engine.templates.entry import Template

WIDE: Mapping[str, Any] = {"d_model": (64, 128, 320, 512)}
SIZES: Mapping[str, Mapping[str, Any]] = {
    "b0": {},
    "b1": WIDE,
    "b2": {**WIDE, "num_layers": (3, 4, 6, 3), "decoder_features": 768},
    "b3": {**WIDE, "num_layers": (3, 4, 18, 3), "decoder_features": 768},
    "b4": {**WIDE, "num_layers": (3, 8, 27, 3), "decoder_features": 768},
    "b5": {**WIDE, "num_layers": (3, 6, 40, 3), "decoder_features": 768},
}
STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Segformer(PictureOptions):
    """Options of `segformer`; the defaults are SegFormer-B0 for ADE20K."""

    image_height: int = setting(512, least=1)
    """Pixels from top to bottom."""
    image_width: int = setting(512, least=1)
    """Pixels from left to right."""
    num_classes: int = setting(150, least=1)
    """Classes that a pixel may have."""
    num_layers: tuple[int, ...] = setting((2, 2, 2, 2), least=1)
    """Layers of each stage. The first has a fourth of the picture's sides, each further one half of the last one's."""
    d_model: tuple[int, ...] = setting((32, 64, 160, 256), least=1)
    """Features of a pixel in each stage."""
    attention_heads: tuple[int, ...] = setting((1, 2, 5, 8), least=1)
    """Heads of the attentions of each stage."""
    reductions: tuple[int, ...] = setting((8, 4, 2, 1), least=1)
    """Pixels on a side of what is one key in the attentions of each stage."""
    feed_forward: int = setting(4, least=1)
    """Features inside the feed-forward layers, as a multiple of those outside."""
    decoder_features: int = setting(256, least=1)
    """Features to which the decoder brings every stage."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share of the values zeroed before the classifier while training."""
    drop_path: float = setting(0.1, least=0, below=1)
    """Share of the samples whose last layer's branches are left out while training; less in the layers before."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: with one violation a fault.
        """
        super().__post_init__()
        stages = len(self.num_layers)
        for name in ("d_model", "attention_heads", "reductions"):
            given = len(getattr(self, name))
            if given != stages:
                raise fault(name, f"got {given} numbers for the {stages} of num_layers")


def build(options: Segformer) -> Description:
    """Return encoder and decoder; the output is a picture of class scores, a fourth of the input's sides."""
    stages = tuple(_stage(options, index) for index in range(len(options.num_layers)))
    return Description(
        name="segformer", input_shape=options.input_shape, body=(Part(name="encoder", body=stages), _decoder(options))
    )


def _stage(options: Segformer, index: int) -> Sequential:
    kernel, stride = (3, 2) if index else (7, 4)
    patches = Conv2d(name="patches", out_channels=options.d_model[index], kernel_size=kernel, stride=stride)
    layers = (_layer(options, index, layer) for layer in range(options.num_layers[index]))
    body = (patches, LayerNorm(name="patches_norm"), *layers, LayerNorm(name="norm"), Save(value=f"stage{index}"))
    return Sequential(name=f"stage{index}", body=body)


def _layer(options: Segformer, stage: int, index: int) -> Sequential:
    before, total = sum(options.num_layers[:stage]) + index, sum(options.num_layers)
    after = drop_path(options.drop_path * before / max(total - 1, 1))
    heads, wide = options.attention_heads[stage], options.d_model[stage]
    attention = SpatialAttention(name="attention", heads=heads, reduction=options.reductions[stage], init_std=STD)
    attend = Residual(name="attend", body=(LayerNorm(name="norm"), attention, *after))
    inner = wide * options.feed_forward
    up = Linear(name="up", out_features=inner, init_std=STD, split="column")
    down = Linear(name="down", out_features=wide, init_std=STD, split="row")
    body: tuple[Block, ...] = (
        Pixels(name="before", body=(LayerNorm(name="norm"), up)),
        # What tells a pixel where it stands: zeros beyond the edges reach it through these kernels.
        Conv2d(name="depthwise", out_channels=inner, kernel_size=3, groups=inner),
        Pixels(name="after", body=(Gelu(), down)),
    )
    return Sequential(name=f"layer{index}", body=(attend, Residual(name="feed", body=(*body, *after))))


def _decoder(options: Segformer) -> Part:
    last = len(options.num_layers) - 1
    fuse = Conv2d(name="fuse", out_channels=options.decoder_features, kernel_size=1, bias=False)
    scores = Conv2d(name="classifier", out_channels=options.num_classes, kernel_size=1, init_std=STD)
    # The deepest stage comes first, as in published weights.
    branches = tuple(_branch(options, index) for index in range(last, -1, -1))
    body = (Concat(name="stages", branches=branches), fuse, BatchNorm(name="norm"), Relu(), *dropout(options.dropout))
    return Part(name="decoder", output="logits", body=(*body, scores))


def _branch(options: Segformer, index: int) -> Sequential:
    linear = Linear(name="linear", out_features=options.decoder_features, init_std=STD)
    resize = (Resize(like="stage0"),) if index else ()
    return Sequential(name=f"stage{index}", body=(Load(value=f"stage{index}"), Pixels(body=(linear,)), *resize))


ENCODER = r"(?:segformer\.)?encoder\."
LAYER, OURS = ENCODER + r"block\.(\d+)\.(\d+)\.", r"encoder.stage\1.layer\2."
HUGGINGFACE = (
    rule(ENCODER + r"patch_embeddings\.(\d+)\.proj\.(\w+)", r"encoder.stage\1.patches.\2"),
    rule(ENCODER + r"patch_embeddings\.(\d+)\.layer_norm\.(\w+)", r"encoder.stage\1.patches_norm.\2"),
    rule(ENCODER + r"layer_norm\.(\d+)\.(\w+)", r"encoder.stage\1.norm.\2"),
    rule(LAYER + r"layer_norm_1\.(\w+)", OURS + r"attend.body.norm.\3"),
    rule(LAYER + r"attention\.self\.(query|key|value)\.(\w+)", OURS + r"attend.body.attention.\3.\4"),
    rule(LAYER + r"attention\.self\.sr\.(\w+)", OURS + r"attend.body.attention.reduce.\3"),
    rule(LAYER + r"attention\.self\.layer_norm\.(\w+)", OURS + r"attend.body.attention.reduce_norm.\3"),
    rule(LAYER + r"attention\.output\.dense\.(\w+)", OURS + r"attend.body.attention.output.\3"),
    rule(LAYER + r"layer_norm_2\.(\w+)", OURS + r"feed.body.before.norm.\3"),
    rule(LAYER + r"mlp\.dense1\.(\w+)", OURS + r"feed.body.before.up.\3"),
    rule(LAYER + r"mlp\.dwconv\.dwconv\.(\w+)", OURS + r"feed.body.depthwise.\3"),
    rule(LAYER + r"mlp\.dense2\.(\w+)", OURS + r"feed.body.after.down.\3"),
    rule(r"decode_head\.linear_c\.(\d+)\.proj\.(\w+)", r"decoder.stages.stage\1.pixels.linear.\2"),
    rule(r"decode_head\.linear_fuse\.(\w+)", r"decoder.fuse.\1"),
    rule(r"decode_head\.batch_norm\.(\w+)", r"decoder.norm.\1"),
    rule(r"decode_head\.classifier\.(\w+)", r"decoder.classifier.\1"),
)

TEMPLATE = Template(
    name="segformer",
    title="SegFormer",
    domain="vision",
    paper="Xie et al. 2021, arXiv 2105.15203",
    sizes=SIZES,
    options=Segformer,
    build=build,
    huggingface=HUGGINGFACE,
)
