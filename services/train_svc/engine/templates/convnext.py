"""ConvNeXt: a residual network built as Transformers are (Liu et al. 2022, arXiv 2201.03545)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description
from services.train_svc.engine.architecture.blocks.combine import Residual, Sequential
from services.train_svc.engine.architecture.blocks.convolution import Conv2d
from services.train_svc.engine.architecture.blocks.elementwise import Gelu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import LayerNorm, LayerScale
from services.train_svc.engine.architecture.blocks.reshape import GlobalAvgPool
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import fault, setting
from services.train_svc.engine.templates.convnet import PictureOptions, drop_path
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {},
    "small": {"depths": (3, 3, 27, 3), "drop_path": 0.4},
    "base": {"depths": (3, 3, 27, 3), "widths": (128, 256, 512, 1024), "drop_path": 0.5},
    "large": {"depths": (3, 3, 27, 3), "widths": (192, 384, 768, 1536), "drop_path": 0.5},
}
STD, EPS, EXPANSION = 0.02, 1e-6, 4


@dataclass(frozen=True, kw_only=True)
class Convnext(PictureOptions):
    """Options of `convnext`; the defaults are ConvNeXt-T."""

    depths: tuple[int, ...] = setting((3, 3, 9, 3), least=1)
    """Residual blocks of each stage."""
    widths: tuple[int, ...] = setting((96, 192, 384, 768), least=1)
    """Channels of each stage; each stage but the first halves the picture."""
    patch_size: int = setting(4, least=1)
    """Pixels on a side of the squares that the stem turns into one."""
    kernel_size: int = setting(7, least=1)
    """Pixels on a side of the depthwise convolutions, an odd number."""
    layer_scale: float = setting(1e-6, least=0)
    """What the scales of the blocks begin with; 0: the blocks have none."""
    drop_path: float = setting(0.1, least=0, below=1)
    """Share of the samples that skip the last block while training; grows from 0 at the first."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: a field is out of bounds, or there are not as many widths as depths.
        """
        super().__post_init__()
        if len(self.widths) != len(self.depths):
            raise fault("widths", f"got {len(self.widths)} numbers, wanted one a stage, {len(self.depths)} as `depths`")


def build(options: Convnext) -> Description:
    """Return the network: stem, stages, pooling, classifier."""
    return Description(
        name="convnext",
        input_shape=options.input_shape,
        body=(
            Sequential(name="stem", body=(_squares("conv", options.widths[0], options.patch_size), _norm())),
            *(_stage(options, index) for index in range(len(options.depths))),
            GlobalAvgPool(name="pool"),
            _norm(),
            Linear(name="classifier", out_features=options.num_classes, init_std=STD),
        ),
    )


def _stage(options: Convnext, index: int) -> Sequential:
    wide, earlier = options.widths[index], sum(options.depths[:index])
    halve: tuple[Block, ...] = (_norm(), _squares("conv", wide, 2)) if index else ()
    last = max(1, sum(options.depths) - 1)
    blocks = tuple(
        _block(f"block{position}", options, wide, options.drop_path * (earlier + position) / last)
        for position in range(options.depths[index])
    )
    return Sequential(name=f"stage{index}", body=halve + blocks)


def _block(name: str, options: Convnext, wide: int, rate: float) -> Residual:
    scale = (LayerScale(name="scale", initial=options.layer_scale),) if options.layer_scale else ()
    return Residual(
        name=name,
        body=(
            Conv2d(name="depthwise", out_channels=wide, kernel_size=options.kernel_size, groups=wide, init_std=STD),
            _norm(),
            Conv2d(name="up", out_channels=EXPANSION * wide, kernel_size=1, init_std=STD),
            Gelu(),
            Conv2d(name="down", out_channels=wide, kernel_size=1, init_std=STD),
            *scale,
            *drop_path(rate),
        ),
    )


def _squares(name: str, channels: int, side: int) -> Conv2d:
    return Conv2d(name=name, out_channels=channels, kernel_size=side, stride=side, padding=0, init_std=STD)


def _norm() -> LayerNorm:
    return LayerNorm(name="norm", eps=EPS)


MODEL, STAGE = r"(?:convnext\.)?", r"encoder\.stages\.(\d+)\."
LAYER, OURS = MODEL + STAGE + r"layers\.(\d+)\.", r"stage\1.block\2.body."
HUGGINGFACE = (
    rule(MODEL + r"embeddings\.patch_embeddings\.(\w+)", r"stem.conv.\1"),
    rule(MODEL + r"embeddings\.layernorm\.(\w+)", r"stem.norm.\1"),
    rule(MODEL + STAGE + r"downsampling_layer\.0\.(\w+)", r"stage\1.norm.\2"),
    rule(MODEL + STAGE + r"downsampling_layer\.1\.(\w+)", r"stage\1.conv.\2"),
    rule(LAYER + r"dwconv\.(\w+)", OURS + r"depthwise.\3"),
    rule(LAYER + r"layernorm\.(\w+)", OURS + r"norm.\3"),
    rule(LAYER + r"pwconv1\.(\w+)", OURS + r"up.\3"),
    rule(LAYER + r"pwconv2\.(\w+)", OURS + r"down.\3"),
    rule(LAYER + r"layer_scale_parameter", OURS + r"scale.weight"),
    rule(MODEL + r"layernorm\.(\w+)", r"norm.\1"),
    rule(r"classifier\.(\w+)", r"classifier.\1"),
)

TEMPLATE = Template(
    name="convnext",
    title="ConvNeXt",
    domain="vision",
    paper="Liu et al. 2022, arXiv 2201.03545",
    sizes=SIZES,
    options=Convnext,
    build=build,
    huggingface=HUGGINGFACE,
)
