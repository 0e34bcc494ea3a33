"""Mixtral: Llama's decoder with a mixture of experts in each layer (Jiang et al. 2024, arXiv 2401.04088)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.blocks.experts import MixtureOfExperts
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import setting
from services.train_svc.engine.templates import llama
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {
    "mixtral-8x7b": {},
    "mixtral-8x22b": {
        "num_layers": 56,
        "d_model": 6144,
        "attention_heads": 48,
        "feed_forward": 16384,
    },
    "qwen3-30b-a3b": {
        "vocab_size": 151936,
        "num_layers": 48,
        "d_model": 2048,
        "kv_heads": 4,
        "head_dim": 128,
        "feed_forward": 768,
        "experts": 128,
        "top_k": 8,
        "qk_norm": True,
        "norm_eps": 1e-6,
    },
}
ROUTER = "router_logits"


@dataclass(frozen=True, kw_only=True)
class MoeDecoder(llama.Llama):
    """Options of `moe_decoder`; the defaults are Mixtral-8x7B."""

    vocab_size: int = setting(32000, least=1)
    """Tokens."""
    num_layers: int = setting(32, least=1)
    """Layers of attention and experts."""
    d_model: int = setting(4096, least=1)
    """Features of a token."""
    feed_forward: int = setting(14336, least=1)
    """Features inside each expert."""
    rope_theta: float = setting(1e6, above=1)
    """Base of the rotary positions."""
    rope_factor: float = setting(1.0, least=1)
    """How much the slow rotations are slowed; 1: not at all."""
    tied: bool = False
    """The scores of the next token use the matrix of the embedding."""
    experts: int = setting(8, least=2)
    """Feed-forward networks of a layer."""
    top_k: int = setting(2, least=1)
    """How many of them a token takes."""
    router_logits: bool = False
    """Also give the routers' scores [time, num_layers * experts], for a loss that balances the load."""


def build(options: MoeDecoder) -> Description:
    """Return the decoder."""
    experts = MixtureOfExperts(
        name="experts",
        experts=options.experts,
        top_k=options.top_k,
        feed_forward=options.feed_forward,
        value=ROUTER,
        init_std=options.init_std,
    )
    outputs = ("logits", ROUTER) if options.router_logits else ("logits",)
    return llama.decoder("moe_decoder", options, (experts,), outputs)


# Mixtral's files name the experts' layers w1, w2 and w3; Qwen3's have words.
EXPERT = llama.LAYER + r"(?:block_sparse_moe|mlp)\.experts\.(\d+)\."
EXPERTS = llama.OURS + "feed.body.experts."
HUGGINGFACE = (
    *llama.ATTENTION,
    rule(llama.LAYER + r"(?:block_sparse_moe|mlp)\.gate\.weight", EXPERTS + "router.weight"),
    rule(EXPERT + r"(?:w1|gate_proj)\.weight", EXPERTS + r"gate[\2]"),
    rule(EXPERT + r"(?:w3|up_proj)\.weight", EXPERTS + r"up[\2]"),
    rule(EXPERT + r"(?:w2|down_proj)\.weight", EXPERTS + r"down[\2]"),
)

TEMPLATE = Template(
    name="moe_decoder",
    title="MoE decoder (Mixtral)",
    domain="language",
    paper="Jiang et al. 2024, arXiv 2401.04088",
    aliases=("Mixtral",),
    sizes=SIZES,
    options=MoeDecoder,
    build=build,
    huggingface=HUGGINGFACE,
)
