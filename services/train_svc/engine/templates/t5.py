"""T5: an encoder-decoder with biases by distance (Raffel et al. 2019, arXiv 1910.10683).

Version 1.1 gates its feed-forward layers (Shazeer 2020, arXiv 2002.05202) and unties its output.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Product, Repeat, Residual
from services.train_svc.engine.architecture.blocks.elementwise import GeluTanh, Relu
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear, TiedEmbedding, TiedLinear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, RmsNorm
from services.train_svc.engine.architecture.blocks.positions import RelativeBias
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template


def _size(layers: int, d_model: int, heads: int, feed_forward: int, head_dim: int = 64) -> dict[str, Any]:
    return {"num_layers": layers, "d_model": d_model, "attention_heads": heads, "feed_forward": feed_forward,
            "head_dim": head_dim}  # fmt: skip


V1_1 = {"gated": True, "tied": False}
SIZES: Mapping[str, Mapping[str, Any]] = {
    "small": _size(6, 512, 8, 2048),
    "base": _size(12, 768, 12, 3072),
    "large": _size(24, 1024, 16, 4096),
    "3b": _size(24, 1024, 32, 16384, 128),
    "11b": _size(24, 1024, 128, 65536, 128),
    "v1_1-small": _size(8, 512, 6, 1024) | V1_1,
    "v1_1-base": _size(12, 768, 12, 2048) | V1_1,
    "v1_1-large": _size(24, 1024, 16, 2816) | V1_1,
}


@dataclass(frozen=True, kw_only=True)
class T5(Checked):
    """Options of `t5`; the defaults are T5-small."""

    vocab_size: int = setting(32128, least=1)
    """Word pieces, padded to a multiple of 128 as the published ones are."""
    num_layers: int = setting(6, least=1)
    """Layers of the encoder, and of the decoder."""
    d_model: int = setting(512, least=1)
    """Features of a token."""
    attention_heads: int = setting(8, least=1)
    """Heads of each attention."""
    head_dim: int = setting(64, least=1)
    """Features of a head; heads * head_dim need not be d_model."""
    feed_forward: int = setting(2048, least=1)
    """Features inside the feed-forward layers."""
    buckets: int = setting(32, least=4)
    """Kinds of distances that the attention tells apart."""
    max_distance: int = setting(128, least=2)
    """Distances from here on are one kind."""
    gated: bool = False
    """The feed-forward layers are gelu(x W) * (x V), as in v1.1; otherwise relu(x W)."""
    tied: bool = True
    """The output uses the embedding's matrix, scaled by 1/sqrt(d_model); False: one of its own, as in v1.1."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share of the values zeroed while training."""


def build(options: T5) -> Description:
    """Return the encoder and the decoder."""
    return Description(
        name="t5",
        inputs={
            "sources": Input(shape=("source",), dtype="int64", below=options.vocab_size),
            "targets": Input(shape=("target",), dtype="int64", below=options.vocab_size),
            "source_mask": Input(shape=("source",), dtype="bool", optional=True),
        },
        typical={"source": 128, "target": 64},
        body=(_encoder(options), _decoder(options)),
    )


def _encoder(options: T5) -> Part:
    tokens = Embedding(name="tokens", vocab_size=options.vocab_size, features=options.d_model)
    body = _stack(options, tokens, (_attend(options, "attend", bias_from="encoder_bias"),))
    return Part(name="encoder", input="sources", mask="source_mask", output="memory", body=body)


def _decoder(options: T5) -> Part:
    attend = _attend(options, "attend", bias_from="decoder_bias", causal=True)
    scores: Block = Linear(name="scores", out_features=options.vocab_size, bias=False, init_std=1.0)
    if options.tied:
        scores = TiedLinear(name="scores", of="encoder.tokens", scale=options.d_model**-0.5)
    look = (attend, _attend(options, "cross", memory="memory"))
    body = _stack(options, TiedEmbedding(name="tokens", of="encoder.tokens"), look)
    return Part(name="decoder", input="targets", body=(*body, scores))


def _stack(options: T5, tokens: Block, look: tuple[Block, ...]) -> tuple[Block, ...]:
    encoding, drop = isinstance(tokens, Embedding), Dropout(rate=options.dropout)
    bias = RelativeBias(name="bias", value="encoder_bias" if encoding else "decoder_bias", bidirectional=encoding,
                        heads=options.attention_heads, buckets=options.buckets, max_distance=options.max_distance,
                        init_std=options.d_model**-0.5)  # fmt: skip
    layers = Repeat(name="layers", times=options.num_layers, body=(*look, _feed(options)))
    return (tokens, drop, bias, layers, RmsNorm(name="norm"), drop)


def _attend(options: T5, name: str, **fields: Any) -> Residual:  # noqa: ANN401 - an attention's fields
    std = options.d_model**-0.5
    attention = Attention(name="attention", heads=options.attention_heads, head_dim=options.head_dim, scale=1.0,
                          bias=False, out_bias=False, dropout=options.dropout, init_std=std,
                          query_init_std=std * options.head_dim**-0.5, **fields)  # fmt: skip
    return Residual(name=name, body=(RmsNorm(name="norm"), attention, Dropout(rate=options.dropout)))


def _feed(options: T5) -> Residual:
    def up(name: str) -> Linear:
        std = options.d_model**-0.5
        return Linear(name=name, out_features=options.feed_forward, bias=False, init_std=std, split="column")

    inner: tuple[Block, ...] = (up("up"), Relu())
    if options.gated:
        inner = (Product(body=(up("up"),), gate=(up("gate"), GeluTanh())),)
    down = Linear(name="down", out_features=options.d_model, bias=False, init_std=options.feed_forward**-0.5,
                  split="row")  # fmt: skip
    drop = Dropout(rate=options.dropout)
    return Residual(name="feed", body=(RmsNorm(name="norm"), *inner, drop, down, drop))


STACK, OURS = r"(encoder|decoder)\.block\.(\d+)\.layer\.", r"\1.layers.\2."
PARTS = {"q": "query", "k": "key", "v": "value", "o": "output"}
HUGGINGFACE = (
    rule(r"shared\.weight", r"encoder.tokens.weight"),
    rule(r"(?:encoder|decoder)\.embed_tokens\.weight", same_as="encoder.tokens.weight"),
    rule(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"),
    rule(r"(encoder|decoder)\.block\.0\.layer\.0\.SelfAttention\.relative_attention_bias\.weight", r"\1.bias.weight"),
    *(rule(STACK + rf"0\.SelfAttention\.{theirs}\.weight", OURS + f"attend.body.attention.{ours}.weight")
      for theirs, ours in PARTS.items()),
    *(rule(STACK + rf"1\.EncDecAttention\.{theirs}\.weight", OURS + f"cross.body.attention.{ours}.weight")
      for theirs, ours in PARTS.items()),
    rule(STACK + r"0\.layer_norm\.weight", OURS + "attend.body.norm.weight"),
    rule(r"decoder\.block\.(\d+)\.layer\.1\.layer_norm\.weight", r"decoder.layers.\1.cross.body.norm.weight"),
    rule(STACK + r"\d\.layer_norm\.weight", OURS + "feed.body.norm.weight"),
    rule(STACK + r"\d\.DenseReluDense\.wi\.weight", OURS + "feed.body.up.weight"),
    rule(STACK + r"\d\.DenseReluDense\.wi_0\.weight", OURS + "feed.body.product.gate.gate.weight"),
    rule(STACK + r"\d\.DenseReluDense\.wi_1\.weight", OURS + "feed.body.product.body.up.weight"),
    rule(STACK + r"\d\.DenseReluDense\.wo\.weight", OURS + "feed.body.down.weight"),
    rule(r"(encoder|decoder)\.final_layer_norm\.weight", r"\1.norm.weight"),
    rule(r"lm_head\.weight", r"decoder.scores.weight"),
    rule(r"lm_head\.weight", same_as="encoder.tokens.weight"),
)  # fmt: skip

TEMPLATE = Template(
    name="t5",
    title="T5",
    domain="language",
    paper="Raffel et al. 2019, arXiv 1910.10683",
    sizes=SIZES,
    options=T5,
    build=build,
    huggingface=HUGGINGFACE,
)
