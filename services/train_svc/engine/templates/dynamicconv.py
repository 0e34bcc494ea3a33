"""LightConv and DynamicConv: encoder-decoders of short convolutions (Wu et al. 2019, arXiv 1901.10430)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

from services.train_svc.engine.architecture import Block, Description
from services.train_svc.engine.architecture.blocks.combine import Repeat
from services.train_svc.engine.architecture.blocks.elementwise import Glu
from services.train_svc.engine.architecture.blocks.lightconv import DynamicConv, LightweightConv
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, LayerNorm
from services.train_svc.engine.reading import setting
from services.train_svc.engine.templates.entry import Template
from services.train_svc.engine.templates.transformer import BIG, Translator, cross, feed, sublayer, translator

SIZES: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "big": BIG | {"attention_dropout": 0.1, "weight_dropout": 0.1},
}


@dataclass(frozen=True, kw_only=True)
class DynamicConvolution(Translator):
    """Options of `dynamicconv`; the defaults are the base size of the authors' code for WMT'16 English-German."""

    vocab_size: int = setting(32768, least=1)
    """Word pieces, shared by both languages."""
    conv: Literal["dynamic", "lightweight"] = "dynamic"
    """Kernels predicted from each token, or learned ones."""
    encoder_kernels: tuple[int, ...] = setting((3, 7, 15, 31, 31, 31, 31), least=1)
    """Tokens that each layer of the encoder sees; as many layers as numbers."""
    decoder_kernels: tuple[int, ...] = setting((3, 7, 15, 31, 31, 31), least=1)
    """Tokens that each layer of the decoder sees."""
    glu: bool = True
    """A gated linear unit before each convolution."""
    weight_dropout: float = setting(0.0, least=0, below=1)
    """Share of the kernels' weights that is zeroed while training: DropConnect."""
    input_dropout: float = setting(0.1, least=0, below=1)
    """Share of the values zeroed before each convolution's first linear layer while training."""


def build(options: DynamicConvolution) -> Description:
    """Return the encoder and the decoder."""
    encode = [
        Repeat(name=f"layer{index}", times=1, body=(*_convolve(options, size, causal=False), *feed(options)))
        for index, size in enumerate(options.encoder_kernels)
    ]
    decode = [
        Repeat(name=f"layer{index}", times=1,
               body=(*_convolve(options, size, causal=True), *cross(options), *feed(options)))
        for index, size in enumerate(options.decoder_kernels)
    ]  # fmt: skip
    final = (LayerNorm(name="norm"),) if options.norm_first else ()
    return translator("dynamicconv", options, (*encode, *final), (*decode, *final))


def _convolve(options: DynamicConvolution, size: int, *, causal: bool) -> tuple[Block, ...]:
    wide = options.d_model
    kind = DynamicConv if options.conv == "dynamic" else LightweightConv
    convolution = kind(name="convolution", heads=options.attention_heads, kernel_size=size, causal=causal,
                       weight_dropout=options.weight_dropout)  # fmt: skip
    inner = 2 * wide if options.glu else wide
    enter = Linear(name="enter", out_features=inner, init_std=sqrt(2 / (wide + inner)))
    gate: tuple[Block, ...] = (Glu(),) if options.glu else ()
    leave = Linear(name="leave", out_features=wide, init_std=wide**-0.5)
    drop = Dropout(name="input_dropout", rate=options.input_dropout)
    return sublayer("convolve", options, drop, enter, *gate, convolution, leave)


TEMPLATE = Template(
    name="dynamicconv",
    title="DynamicConv",
    domain="language",
    paper="Wu et al. 2019, arXiv 1901.10430",
    sizes=SIZES,
    options=DynamicConvolution,
    build=build,
)
