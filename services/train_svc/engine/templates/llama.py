"""Llama: the decoder of today's language models (Touvron et al. 2023, arXiv 2302.13971; Llama 3, arXiv 2407.21783).

The options also make Qwen3 (arXiv 2505.09388), which normalises queries and keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Product, Repeat, Residual
from services.train_svc.engine.architecture.blocks.elementwise import Silu
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear, TiedLinear
from services.train_svc.engine.architecture.blocks.normalization import RmsNorm
from services.train_svc.engine.architecture.blocks.positions import Rope
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template

LLAMA_3 = {"num_layers": 32, "d_model": 4096, "feed_forward": 14336, "tied": False, "rope_factor": 1.0}
QWEN_3 = {"vocab_size": 151936, "head_dim": 128, "attention_heads": 16, "qk_norm": True, "norm_eps": 1e-6,
          "rope_theta": 1e6, "rope_factor": 1.0, "num_layers": 28}  # fmt: skip
SIZES: Mapping[str, Mapping[str, Any]] = {
    "llama-3.2-1b": {},
    "llama-3.2-3b": {"num_layers": 28, "d_model": 3072, "attention_heads": 24},
    "llama-3-8b": LLAMA_3,
    "llama-3.1-8b": {**LLAMA_3, "rope_factor": 8.0},
    "qwen3-0.6b": {**QWEN_3, "d_model": 1024, "feed_forward": 3072},
    "qwen3-1.7b": {**QWEN_3, "d_model": 2048, "feed_forward": 6144},
    "qwen3-8b": {**QWEN_3, "num_layers": 36, "d_model": 4096, "attention_heads": 32, "feed_forward": 12288,
                 "tied": False},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Llama(Checked):
    """Options of `llama`; the defaults are Llama-3.2-1B."""

    vocab_size: int = setting(128256, least=1)
    """Tokens."""
    num_layers: int = setting(16, least=1)
    """Layers of attention and feed-forward."""
    d_model: int = setting(2048, least=1)
    """Features of a token."""
    attention_heads: int = setting(32, least=1)
    """Queries of a token in each attention."""
    kv_heads: int = setting(8, least=0)
    """Keys and values of a token, each shared by several queries; 0: as many as queries."""
    head_dim: int = setting(0, least=0)
    """Features of a head; 0: d_model / attention_heads."""
    feed_forward: int = setting(8192, least=1)
    """Features inside the feed-forward layers."""
    qk_norm: bool = False
    """Queries and keys of each head pass an RMS norm, as in Qwen3."""
    norm_eps: float = setting(1e-5, above=0)
    """Added to the mean square in every norm."""
    rope_theta: float = setting(500000.0, above=1)
    """Base of the rotary positions."""
    rope_factor: float = setting(32.0, least=1)
    """How much the slow rotations are slowed for contexts beyond 8192 tokens (Llama 3.1); 1: not at all."""
    tied: bool = True
    """The scores of the next token use the matrix of the embedding."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the attention that is zeroed while training."""
    init_std: float = setting(0.02, above=0)
    """Standard deviation of the first weights."""


def build(options: Llama) -> Description:
    """Return the decoder."""
    return decoder("llama", options, swiglu(options.feed_forward, options))


def decoder(name: str, options: Llama, feed: tuple[Block, ...], outputs: tuple[str, ...] = ("logits",)) -> Description:
    """Return a causal language model whose layers end in the blocks `feed`."""
    tokens = Input(shape=("time",), dtype="int64", below=options.vocab_size)
    embedding = Embedding(
        name="tokens", vocab_size=options.vocab_size, features=options.d_model, init_std=options.init_std
    )
    own = Linear(name="scores", out_features=options.vocab_size, bias=False, init_std=options.init_std, split="column")
    body = (
        embedding,
        Repeat(name="layers", times=options.num_layers, body=_layer(options, feed)),
        RmsNorm(name="norm", eps=options.norm_eps),
        TiedLinear(name="scores", of="decoder.tokens") if options.tied else own,
    )
    return Description(
        name=name,
        inputs={"tokens": tokens, "mask": Input(shape=("time",), dtype="bool", optional=True)},
        typical={"time": 128},
        body=(Part(name="decoder", input="tokens", mask="mask", output="logits", body=body),),
        outputs=outputs,
    )


def _layer(options: Llama, feed: tuple[Block, ...]) -> tuple[Block, ...]:
    norm = RmsNorm(name="norm", eps=options.norm_eps)
    attention = Attention(
        heads=options.attention_heads,
        kv_heads=options.kv_heads,
        head_dim=options.head_dim,
        bias=False,
        out_bias=False,
        causal=True,
        rope=Rope(theta=options.rope_theta, factor=options.rope_factor),
        norm_eps=options.norm_eps if options.qk_norm else 0.0,
        dropout=options.dropout,
        init_std=options.init_std,
    )
    return Residual(name="attend", body=(norm, attention)), Residual(name="feed", body=(norm, *feed))


def swiglu(features: int, options: Llama) -> tuple[Block, ...]:
    """Return down(up(x) * silu(gate(x))) (Shazeer 2020, arXiv 2002.05202)."""
    std = options.init_std
    up = Linear(name="up", out_features=features, bias=False, init_std=std, split="column")
    gate = Linear(name="gate", out_features=features, bias=False, init_std=std, split="column")
    down = Linear(name="down", out_features=options.d_model, bias=False, init_std=std, split="row")
    return Product(name="gated", body=(up,), gate=(gate, Silu())), down


LAYER, OURS = r"model\.layers\.(\d+)\.", r"decoder.layers.\1."
ATTENTION = (
    rule(r"model\.embed_tokens\.weight", "decoder.tokens.weight"),
    rule(LAYER + r"self_attn\.q_proj\.weight", OURS + "attend.body.attention.query.weight"),
    rule(LAYER + r"self_attn\.k_proj\.weight", OURS + "attend.body.attention.key.weight"),
    rule(LAYER + r"self_attn\.v_proj\.weight", OURS + "attend.body.attention.value.weight"),
    rule(LAYER + r"self_attn\.o_proj\.weight", OURS + "attend.body.attention.output.weight"),
    rule(LAYER + r"self_attn\.q_norm\.weight", OURS + "attend.body.attention.query_norm.weight"),
    rule(LAYER + r"self_attn\.k_norm\.weight", OURS + "attend.body.attention.key_norm.weight"),
    rule(LAYER + r"self_attn\.rotary_emb\.inv_freq"),
    rule(LAYER + r"input_layernorm\.weight", OURS + "attend.body.norm.weight"),
    rule(LAYER + r"post_attention_layernorm\.weight", OURS + "feed.body.norm.weight"),
    rule(r"model\.norm\.weight", "decoder.norm.weight"),
    rule(r"lm_head\.weight", "decoder.scores.weight"),
    rule(r"lm_head\.weight", same_as="decoder.tokens.weight"),
)
"""Of every model whose layers are Llama's but for the feed-forward."""
HUGGINGFACE = (
    *ATTENTION,
    rule(LAYER + r"mlp\.up_proj\.weight", OURS + "feed.body.gated.body.up.weight"),
    rule(LAYER + r"mlp\.gate_proj\.weight", OURS + "feed.body.gated.gate.gate.weight"),
    rule(LAYER + r"mlp\.down_proj\.weight", OURS + "feed.body.down.weight"),
)

TEMPLATE = Template(
    name="llama",
    title="Llama",
    domain="language",
    paper="Touvron et al. 2023, arXiv 2302.13971; Qwen3, arXiv 2505.09388",
    aliases=("Llama 3", "Qwen3"),
    sizes=SIZES,
    options=Llama,
    build=build,
    huggingface=HUGGINGFACE,
)
