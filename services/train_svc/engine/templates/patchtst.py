"""PatchTST: forecasts from patches of each variable alone (Nie et al. 2023, arXiv 2211.14730)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.channels import EachChannel, Patches, Standardized
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat, Residual, Sequential
from services.train_svc.engine.architecture.blocks.elementwise import Gelu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import BatchNorm, Dropout, LayerNorm
from services.train_svc.engine.architecture.blocks.positions import FixedPositions, LearnedPositions
from services.train_svc.engine.architecture.blocks.reshape import Flatten, MeanPool
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import Checked, fault, setting
from services.train_svc.engine.templates.entry import Template

PAPER: Mapping[str, Any] = {
    "patch_length": 16, "patch_stride": 8, "pad_end": 8, "attention_heads": 16, "feed_forward": 256, "dropout": 0.2,
    "pre_norm": False, "positions": "learned", "pooling": "none", "horizon": 96,
}  # fmt: skip
SIZES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "42": {**PAPER, "context_length": 336},
    "64": {**PAPER, "context_length": 512},
}
STD = 0.02


@dataclass(frozen=True, kw_only=True)
class PatchTst(Checked):
    """Options of `patchtst`; the defaults are Hugging Face's, the sizes 42 and 64 (patches) the paper's."""

    context_length: int = setting(32, least=1)
    """Steps of the past that it sees."""
    horizon: int = setting(24, least=1)
    """Steps of the future that it forecasts."""
    patch_length: int = setting(1, least=1)
    """Steps a patch."""
    patch_stride: int = setting(1, least=1)
    """Steps from one patch to the next; the oldest steps that fill no patch are left out."""
    pad_end: int = setting(0, least=0)
    """How often the last step is repeated before cutting patches; the paper's is a stride."""
    num_layers: int = setting(3, least=1)
    """Layers of attention and feed-forward."""
    d_model: int = setting(128, least=1)
    """Features of a patch."""
    attention_heads: int = setting(4, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(512, least=1)
    """Features inside the feed-forward layers."""
    norm: Literal["batch", "layer"] = "batch"
    """Normalisation of the layers: the paper's is over the batch."""
    pre_norm: bool = True
    """Normalise before each sub-layer; the paper does after."""
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"
    """Fixed and stored with the weights, or learned."""
    pooling: Literal["mean", "none"] = "mean"
    """The forecast is made from the mean of the patches, or, as in the paper, from all of them end to end."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the values zeroed while training."""
    head: Literal["forecast", "none"] = "forecast"
    """Output `forecast` [horizon, variables] in the input's scale, or `hidden` [variables, patches, d_model]."""

    @property
    def patches(self) -> int:
        """How many patches there are."""
        return (self.context_length + self.pad_end - self.patch_length) // self.patch_stride + 1


def build(options: PatchTst) -> Description:
    """Return the model; its weights are the same for all variables, of which there may be any number."""
    if options.patches < 1:
        raise fault("patch_length", f"got {options.patch_length}, more than the {options.context_length} steps")
    forecast = options.head == "forecast"
    alone = EachChannel(name="alone", body=(_encoder(options), *(_head(options) if forecast else ())))
    whole = Standardized(name="standardized", body=(alone,), restore=forecast)
    output = "forecast" if forecast else "hidden"
    return Description(
        name="patchtst",
        inputs={"values": Input(shape=(options.context_length, "variables"))},
        typical={"variables": 7},
        body=(Part(name="model", output=output, body=(whole,)),),
        outputs=(output,),
    )


def _encoder(options: PatchTst) -> Sequential:
    place: Block = LearnedPositions(name="positions", length=options.patches)
    if options.positions == "sinusoidal":
        place = FixedPositions(name="positions", length=options.patches, interleaved=True, spread=0.1)
    body = (
        Patches(length=options.patch_length, stride=options.patch_stride, pad=options.pad_end),
        Linear(name="embed", out_features=options.d_model, init_std=STD),
        place,
        Dropout(rate=options.dropout),
        Repeat(name="layers", times=options.num_layers, body=_layer(options)),
    )
    return Sequential(name="encoder", body=body)


def _layer(options: PatchTst) -> tuple[Block, ...]:
    kind = BatchNorm if options.norm == "batch" else LayerNorm
    drop = Dropout(rate=options.dropout)
    attend = (Attention(heads=options.attention_heads, dropout=options.dropout, init_std=STD), drop)
    up = Linear(name="up", out_features=options.feed_forward, init_std=STD, split="column")
    down = Linear(name="down", out_features=options.d_model, init_std=STD, split="row")
    feed = (up, Gelu(), drop, down, Dropout(name="drop", rate=options.dropout))
    if options.pre_norm:
        norm = kind(name="norm")
        return Residual(name="attend", body=(norm, *attend)), Residual(name="feed", body=(norm, *feed))
    return (
        Residual(name="attend", body=attend), kind(name="attend_norm"),
        Residual(name="feed", body=feed), kind(name="feed_norm"),
    )  # fmt: skip


def _head(options: PatchTst) -> tuple[Block, ...]:
    pool = MeanPool() if options.pooling == "mean" else Flatten()
    return pool, Dropout(rate=options.dropout), Linear(name="forecast", out_features=options.horizon, init_std=STD)


ENCODER = r"(?:model\.)?encoder\."
LAYER, HERE = ENCODER + r"layers\.(\d+)\.", "model.standardized.alone."
OURS = HERE + r"encoder.layers.\1."
HUGGINGFACE = (
    rule(ENCODER + r"embedder\.input_embedding\.(\w+)", HERE + r"encoder.embed.\1"),
    rule(ENCODER + r"positional_encoder\.position_enc", HERE + "encoder.positions.weight"),
    rule(LAYER + r"self_attn\.q_proj\.(\w+)", OURS + r"attend.body.attention.query.\2"),
    rule(LAYER + r"self_attn\.k_proj\.(\w+)", OURS + r"attend.body.attention.key.\2"),
    rule(LAYER + r"self_attn\.v_proj\.(\w+)", OURS + r"attend.body.attention.value.\2"),
    rule(LAYER + r"self_attn\.out_proj\.(\w+)", OURS + r"attend.body.attention.output.\2"),
    rule(LAYER + r"norm_sublayer1\.(?:batchnorm\.)?(\w+)", OURS + r"attend.body.norm.\2"),
    rule(LAYER + r"norm_sublayer1\.(?:batchnorm\.)?(\w+)", OURS + r"attend_norm.\2"),
    rule(LAYER + r"norm_sublayer3\.(?:batchnorm\.)?(\w+)", OURS + r"feed.body.norm.\2"),
    rule(LAYER + r"norm_sublayer3\.(?:batchnorm\.)?(\w+)", OURS + r"feed_norm.\2"),
    rule(LAYER + r"ff\.0\.(\w+)", OURS + r"feed.body.up.\2"),
    rule(LAYER + r"ff\.3\.(\w+)", OURS + r"feed.body.down.\2"),
    rule(r"head\.projection\.(\w+)", HERE + r"forecast.\1"),
)

TEMPLATE = Template(
    name="patchtst",
    title="PatchTST",
    domain="sequences",
    paper="Nie et al. 2023, arXiv 2211.14730",
    sizes=SIZES,
    options=PatchTst,
    build=build,
    huggingface=HUGGINGFACE,
)
