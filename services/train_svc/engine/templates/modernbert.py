"""ModernBERT: a bidirectional encoder with rotary positions and mostly local attention (Warner et al. 2024)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Product, Repeat, Residual, Sequential
from services.train_svc.engine.architecture.blocks.elementwise import Gelu
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear, TiedLinear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, LayerNorm
from services.train_svc.engine.architecture.blocks.positions import Rope
from services.train_svc.engine.architecture.blocks.reshape import Select
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "large": {"num_layers": 28, "d_model": 1024, "attention_heads": 16, "feed_forward": 2624},
}
STD = 0.02
NORM = LayerNorm(name="norm", bias=False)


@dataclass(frozen=True, kw_only=True)
class ModernBert(Checked):
    """Options of `modernbert`; the defaults are ModernBERT-base."""

    vocab_size: int = setting(50368, least=1)
    """Byte pairs."""
    num_layers: int = setting(22, least=1)
    """Layers of attention and feed-forward."""
    d_model: int = setting(768, least=1)
    """Features of a token."""
    attention_heads: int = setting(12, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(1152, least=1)
    """Features inside the feed-forward layers."""
    local_attention: int = setting(128, least=2)
    """Tokens around its own that a token sees in a local layer, half on each side."""
    global_every: int = setting(3, least=1)
    """The first of so many layers sees the whole text, the others are local; 1: all see it."""
    global_theta: float = setting(160000.0, above=1)
    """Base of the rotary positions in layers that see the whole text."""
    local_theta: float = setting(10000.0, above=1)
    """Base of the rotary positions in local layers."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the values zeroed while training."""
    head: Literal["masked_lm", "none", "classification"] = "masked_lm"
    """What stands on the encoder: masked-token scores `logits`; nothing, so that `hidden` comes out; or class scores
    `logits` of the first token."""
    num_classes: int = setting(2, least=1)
    """Classes of the `classification` head."""


def build(options: ModernBert) -> Description:
    """Return the encoder with its head."""
    tokens = Input(shape=("time",), dtype="int64", below=options.vocab_size)
    return Description(
        name="modernbert",
        inputs={"tokens": tokens, "mask": Input(shape=("time",), dtype="bool", optional=True)},
        typical={"time": 128},
        body=(_encoder(options), *_head(options)),
        outputs=("hidden",) if options.head == "none" else ("logits",),
    )


def _encoder(options: ModernBert) -> Part:
    whole = Rope(theta=options.global_theta)
    local = _layer(options, Rope(theta=options.local_theta), window=options.local_attention // 2)
    body = (
        Embedding(name="tokens", vocab_size=options.vocab_size, features=options.d_model, init_std=STD),
        NORM,
        Dropout(rate=options.dropout),
        Repeat(
            name="layers",
            times=options.num_layers,
            body=_layer(options, whole),
            # The embedding's norm has just passed.
            first=_layer(options, whole, normed=True),
            cycle=(Sequential(body=local),) * (options.global_every - 1),
        ),
        LayerNorm(name="last_norm", bias=False),
    )
    return Part(name="encoder", input="tokens", mask="mask", output="hidden", body=body)


def _layer(options: ModernBert, rope: Rope, window: int = 0, *, normed: bool = False) -> tuple[Block, ...]:
    drop, last = options.dropout, _last_std(options)
    attention = Attention(
        heads=options.attention_heads,
        bias=False,
        out_bias=False,
        window=window,
        rope=rope,
        dropout=drop,
        init_std=STD,
        out_init_std=last,
    )
    up = Linear(name="up", out_features=options.feed_forward, bias=False, init_std=STD, split="column")
    gate = Linear(name="gate", out_features=options.feed_forward, bias=False, init_std=STD, split="column")
    down = Linear(name="down", out_features=options.d_model, bias=False, init_std=last, split="row")
    gated = Product(name="gated", body=(up,), gate=(gate, Gelu()))
    return (
        Residual(
            name="attend", body=(attention, Dropout(rate=drop)) if normed else (NORM, attention, Dropout(rate=drop))
        ),
        Residual(name="feed", body=(NORM, gated, Dropout(rate=drop), down)),
    )


def _last_std(options: ModernBert) -> float:
    # Each branch adds to the sum of all before it, so its last layer begins smaller.
    return STD / math.sqrt(2 * options.num_layers)


def _head(options: ModernBert) -> tuple[Block, ...]:
    dense = Linear(name="dense", out_features=options.d_model, bias=False, init_std=_last_std(options))
    words = TiedLinear(name="scores", of="encoder.tokens", bias=True)
    classes = Linear(name="scores", out_features=options.num_classes, init_std=options.d_model**-0.5)
    tail = (dense, Gelu(), NORM)
    return {
        "none": (),
        "masked_lm": (Part(name="masked_lm", output="logits", body=(*tail, words)),),
        "classification": (
            Part(name="classifier", output="logits", body=(Select(), *tail, Dropout(rate=options.dropout), classes)),
        ),
    }[options.head]


LAYER, OURS = r"(?:model\.)?layers\.(\d+)\.", r"encoder.layers.\1."
ATTENTION = OURS + "attend.body.attention."
HUGGINGFACE = (
    rule(r"(?:model\.)?embeddings\.tok_embeddings\.weight", "encoder.tokens.weight"),
    rule(r"(?:model\.)?embeddings\.norm\.weight", "encoder.norm.weight"),
    rule(LAYER + r"attn_norm\.weight", OURS + "attend.body.norm.weight"),
    rule(LAYER + r"attn\.Wqkv\.weight", *(ATTENTION + f"{name}.weight" for name in ("query", "key", "value"))),
    rule(LAYER + r"attn\.Wo\.weight", ATTENTION + "output.weight"),
    rule(LAYER + r"mlp_norm\.weight", OURS + "feed.body.norm.weight"),
    rule(LAYER + r"mlp\.Wi\.weight", *(OURS + f"feed.body.gated.{name}.weight" for name in ("gate.gate", "body.up"))),
    rule(LAYER + r"mlp\.Wo\.weight", OURS + "feed.body.down.weight"),
    rule(r"(?:model\.)?final_norm\.weight", "encoder.last_norm.weight"),
    rule(r"head\.(dense|norm)\.weight", r"masked_lm.\1.weight"),
    rule(r"head\.(dense|norm)\.weight", r"classifier.\1.weight"),
    rule(r"decoder\.weight", same_as="encoder.tokens.weight"),
    rule(r"decoder\.bias", "masked_lm.scores.bias"),
    rule(r"classifier\.(\w+)", r"classifier.scores.\1"),
)

TEMPLATE = Template(
    name="modernbert",
    title="ModernBERT",
    domain="language",
    paper="Warner et al. 2024, arXiv 2412.13663",
    sizes=SIZES,
    options=ModernBert,
    build=build,
    huggingface=HUGGINGFACE,
)
