"""GPT-2: a causal Transformer that normalises before each branch (Radford et al. 2019)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat, Residual
from services.train_svc.engine.architecture.blocks.elementwise import GeluTanh
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear, TiedLinear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, LayerNorm
from services.train_svc.engine.architecture.blocks.positions import LearnedPositions
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "medium": {"num_layers": 24, "d_model": 1024, "attention_heads": 16, "feed_forward": 4096},
    "large": {"num_layers": 36, "d_model": 1280, "attention_heads": 20, "feed_forward": 5120},
    "xl": {"num_layers": 48, "d_model": 1600, "attention_heads": 25, "feed_forward": 6400},
}
STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Gpt2(Checked):
    """Options of `gpt2`; the defaults are the smallest published one."""

    vocab_size: int = setting(50257, least=1)
    """Byte pairs."""
    num_layers: int = setting(12, least=1)
    """Layers of attention and feed-forward."""
    d_model: int = setting(768, least=1)
    """Features of a token."""
    attention_heads: int = setting(12, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(3072, least=1)
    """Features inside the feed-forward layers."""
    max_length: int = setting(1024, least=1)
    """Longest text in tokens."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share of the values zeroed while training."""


def build(options: Gpt2) -> Description:
    """Return the decoder."""
    tokens = Input(shape=("time",), dtype="int64", below=options.vocab_size)
    body = (
        Embedding(name="tokens", vocab_size=options.vocab_size, features=options.d_model, init_std=STD),
        LearnedPositions(name="positions", length=options.max_length, init_std=STD),
        Dropout(rate=options.dropout),
        Repeat(name="layers", times=options.num_layers, body=_layer(options)),
        LayerNorm(name="norm"),
        TiedLinear(name="scores", of="decoder.tokens"),
    )
    return Description(
        name="gpt2",
        inputs={"tokens": tokens, "mask": Input(shape=("time",), dtype="bool", optional=True)},
        typical={"time": min(128, options.max_length)},
        body=(Part(name="decoder", input="tokens", mask="mask", output="logits", body=body),),
        outputs=("logits",),
    )


def _layer(options: Gpt2) -> tuple[Block, ...]:
    # Each branch adds to the sum of all before it, so its last layer begins smaller (section 2.3).
    last = STD / math.sqrt(2 * options.num_layers)
    attention = Attention(
        heads=options.attention_heads, causal=True, dropout=options.dropout, init_std=STD, out_init_std=last
    )
    feed = (
        Linear(name="up", out_features=options.feed_forward, init_std=STD, split="column"),
        GeluTanh(),
        Linear(name="down", out_features=options.d_model, init_std=last, split="row"),
    )
    norm, drop = LayerNorm(name="norm"), Dropout(rate=options.dropout)
    return Residual(name="attend", body=(norm, attention, drop)), Residual(name="feed", body=(norm, *feed, drop))


LAYER, OURS = r"(?:transformer\.)?h\.(\d+)\.", r"decoder.layers.\1."
ATTENTION = OURS + "attend.body.attention."
HUGGINGFACE = (
    rule(r"(?:transformer\.)?wte\.weight", "decoder.tokens.weight"),
    rule(r"(?:transformer\.)?wpe\.weight", "decoder.positions.weight"),
    # Masks, which published files hold too.
    rule(LAYER + r"attn\.(?:masked_)?bias"),
    rule(LAYER + r"ln_1\.(\w+)", OURS + r"attend.body.norm.\2"),
    rule(
        LAYER + r"attn\.c_attn\.(\w+)",
        *(ATTENTION + rf"{name}.\2" for name in ("query", "key", "value")),
        transpose=True,
    ),
    rule(LAYER + r"attn\.c_proj\.(\w+)", ATTENTION + r"output.\2", transpose=True),
    rule(LAYER + r"ln_2\.(\w+)", OURS + r"feed.body.norm.\2"),
    rule(LAYER + r"mlp\.c_fc\.(\w+)", OURS + r"feed.body.up.\2", transpose=True),
    rule(LAYER + r"mlp\.c_proj\.(\w+)", OURS + r"feed.body.down.\2", transpose=True),
    rule(r"(?:transformer\.)?ln_f\.(\w+)", r"decoder.norm.\1"),
    rule(r"lm_head\.weight", same_as="decoder.tokens.weight"),
)

TEMPLATE = Template(
    name="gpt2",
    title="GPT-2",
    domain="language",
    paper="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    sizes=SIZES,
    options=Gpt2,
    build=build,
    huggingface=HUGGINGFACE,
)
