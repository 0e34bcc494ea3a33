"""The Transformer: an encoder-decoder of attention alone (Vaswani et al. 2017, arXiv 1706.03762)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat, Residual
from services.train_svc.engine.architecture.blocks.elementwise import Relu
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear, TiedEmbedding, TiedLinear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, LayerNorm
from services.train_svc.engine.architecture.blocks.positions import SinusoidalPositions
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template

BIG = {"d_model": 1024, "attention_heads": 16, "feed_forward": 4096, "dropout": 0.3}
SIZES: Mapping[str, Mapping[str, Any]] = {"base": {}, "big": BIG}


@dataclass(frozen=True, kw_only=True)
class Translator(Checked):
    """What encoder-decoders of this kind share; the defaults are those of the base size on WMT'14 English-German."""

    vocab_size: int = setting(37000, least=1)
    """Word pieces, shared by both languages."""
    d_model: int = setting(512, least=2)
    """Features of a token."""
    attention_heads: int = setting(8, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(2048, least=1)
    """Features inside the feed-forward layers."""
    norm_first: bool = False
    """Normalise before each sub-layer and once at the end, instead of after each sum as in the paper."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share zeroed while training: of the embeddings, and of each sub-layer's output."""
    attention_dropout: float = setting(0.0, least=0, below=1)
    """Share of each attention that is zeroed while training."""


@dataclass(frozen=True, kw_only=True)
class Transformer(Translator):
    """Options of `transformer`; the defaults are the base size."""

    num_layers: int = setting(6, least=1)
    """Layers of the encoder, and of the decoder."""
    final_norm: bool = True
    """One more norm at the end of both, as `torch.nn.Transformer` has it; the paper has none."""


def build(options: Transformer) -> Description:
    """Return the encoder and the decoder."""
    encode = Repeat(name="layers", times=options.num_layers, body=(*_attend(options), *feed(options)))
    decode = (*_attend(options, causal=True), *cross(options), *feed(options))
    final = (LayerNorm(name="norm"),) if options.final_norm else ()
    return translator("transformer", options, (encode, *final),
                      (Repeat(name="layers", times=options.num_layers, body=decode), *final))  # fmt: skip


def translator(name: str, options: Translator, encode: tuple[Block, ...], decode: tuple[Block, ...]) -> Description:
    """Return the description around the layers: one matrix for both embeddings and the output, and positions."""
    scale, drop = sqrt(options.d_model), Dropout(rate=options.dropout)
    places = (SinusoidalPositions(interleaved=True), drop)
    tokens = Embedding(name="tokens", vocab_size=options.vocab_size, features=options.d_model, scale=scale,
                       init_std=1 / scale)  # fmt: skip
    tied = TiedEmbedding(name="tokens", of="encoder.tokens", scale=scale)
    scores = TiedLinear(name="scores", of="encoder.tokens")
    return Description(
        name=name,
        inputs={
            "sources": Input(shape=("source",), dtype="int64", below=options.vocab_size),
            "targets": Input(shape=("target",), dtype="int64", below=options.vocab_size),
            "source_mask": Input(shape=("source",), dtype="bool", optional=True),
        },
        typical={"source": 32, "target": 32},
        body=(
            Part(name="encoder", input="sources", mask="source_mask", output="memory",
                 body=(tokens, *places, *encode)),
            Part(name="decoder", input="targets", body=(tied, *places, *decode, scores)),
        ),
    )  # fmt: skip


def sublayer(name: str, options: Translator, *body: Block) -> tuple[Block, ...]:
    """Return body(x) + x with its norm."""
    body = (*body, Dropout(rate=options.dropout))
    if options.norm_first:
        return (Residual(name=name, body=(LayerNorm(name="norm"), *body)),)
    return Residual(name=name, body=body), LayerNorm(name=f"{name}_norm")


def _attend(options: Translator, name: str = "attend", **fields: Any) -> tuple[Block, ...]:  # noqa: ANN401 - an attention's fields
    # Xavier's standard deviation for square matrices.
    attention = Attention(heads=options.attention_heads, init_std=options.d_model**-0.5,
                          dropout=options.attention_dropout, **fields)  # fmt: skip
    return sublayer(name, options, attention)


def cross(options: Translator) -> tuple[Block, ...]:
    """Return the decoder's sub-layer that looks at the encoder's output."""
    return _attend(options, "cross", memory="memory")


def feed(options: Translator) -> tuple[Block, ...]:
    """Return the feed-forward sub-layer."""
    std = sqrt(2 / (options.d_model + options.feed_forward))
    up = Linear(name="up", out_features=options.feed_forward, init_std=std, split="column")
    down = Linear(name="down", out_features=options.d_model, init_std=std, split="row")
    return sublayer("feed", options, up, Relu(), down)


TEMPLATE = Template(
    name="transformer",
    title="Transformer",
    domain="language",
    paper="Vaswani et al. 2017, arXiv 1706.03762",
    sizes=SIZES,
    options=Transformer,
    build=build,
)
