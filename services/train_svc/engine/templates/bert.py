"""BERT: a bidirectional Transformer encoder (Devlin et al. 2019, arXiv 1810.04805)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat, Residual
from services.train_svc.engine.architecture.blocks.elementwise import Gelu, Tanh
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear, TiedLinear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, LayerNorm
from services.train_svc.engine.architecture.blocks.positions import LearnedPositions
from services.train_svc.engine.architecture.blocks.reshape import Select
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "large": {"num_layers": 24, "d_model": 1024, "attention_heads": 16, "feed_forward": 4096},
}
STD, EPS = 0.02, 1e-12


@dataclass(frozen=True, kw_only=True)
class Bert(Checked):
    """Options of `bert`; the defaults are BERT-base, uncased."""

    vocab_size: int = setting(30522, least=1)
    """Word pieces."""
    num_layers: int = setting(12, least=1)
    """Layers of attention and feed-forward."""
    d_model: int = setting(768, least=1)
    """Features of a token."""
    attention_heads: int = setting(12, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(3072, least=1)
    """Features inside the feed-forward layers."""
    max_length: int = setting(512, least=1)
    """Longest input in tokens."""
    token_types: int = setting(2, least=1)
    """Kinds of segments."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share of the values zeroed while training."""
    head: Literal["pooled", "none", "masked_lm", "pretraining", "classification"] = "pooled"
    """What stands on the encoder: outputs `hidden` and `pooled`; `hidden`; masked-token scores `logits`; those and
    next-sentence scores `relation`; or class scores `logits`."""
    num_classes: int = setting(2, least=1)
    """Classes of the `classification` head."""


def build(options: Bert) -> Description:
    """Return the encoder with its head."""
    tokens = Input(shape=("time",), dtype="int64", below=options.vocab_size)
    types = Input(shape=("time",), dtype="int64", below=options.token_types, optional=True)
    outputs = {"pooled": ("hidden", "pooled"), "none": ("hidden",), "pretraining": ("logits", "relation")}
    return Description(
        name="bert",
        inputs={"tokens": tokens, "token_types": types, "mask": Input(shape=("time",), dtype="bool", optional=True)},
        typical={"time": min(128, options.max_length)},
        body=(_encoder(options), *_head(options)),
        outputs=outputs.get(options.head, ("logits",)),
    )


def _encoder(options: Bert) -> Part:
    layers = Repeat(name="layers", times=options.num_layers, body=_layer(options))
    embedding: tuple[Block, ...] = (
        Embedding(name="tokens", vocab_size=options.vocab_size, features=options.d_model, init_std=STD),
        LearnedPositions(name="positions", length=options.max_length),
        Embedding(name="types", vocab_size=options.token_types, features=options.d_model, input="token_types",
                  init_std=STD),
        LayerNorm(name="norm", eps=EPS),
        Dropout(rate=options.dropout),
    )  # fmt: skip
    return Part(name="encoder", input="tokens", mask="mask", output="hidden", body=(*embedding, layers))


def _layer(options: Bert) -> tuple[Block, ...]:
    drop = options.dropout
    attention = Attention(heads=options.attention_heads, dropout=drop, init_std=STD)
    return (
        Residual(name="attend", body=(attention, Dropout(rate=drop))),
        LayerNorm(name="attend_norm", eps=EPS),
        Residual(
            name="feed",
            body=(
                Linear(name="up", out_features=options.feed_forward, init_std=STD, split="column"),
                Gelu(),
                Linear(name="down", out_features=options.d_model, init_std=STD, split="row"),
                Dropout(rate=drop),
            ),
        ),
        LayerNorm(name="feed_norm", eps=EPS),
    )


def _head(options: Bert) -> tuple[Block, ...]:
    dense = Linear(name="dense", out_features=options.d_model, init_std=STD)
    pooler = Part(name="pooler", input="hidden", output="pooled", body=(Select(), dense, Tanh()))
    scores = TiedLinear(name="scores", of="encoder.tokens", bias=True)
    words = (dense, Gelu(), LayerNorm(name="norm", eps=EPS), scores)
    masked_lm = Part(name="masked_lm", input="hidden", output="logits", body=words)
    relation = Part(name="relation", input="pooled", output="relation", body=(Linear(out_features=2, init_std=STD),))
    classes = Linear(name="scores", out_features=options.num_classes, init_std=STD)
    classifier = Part(name="classifier", output="logits", body=(Dropout(rate=options.dropout), classes))
    return {
        "none": (),
        "pooled": (pooler,),
        "masked_lm": (masked_lm,),
        "pretraining": (masked_lm, pooler, relation),
        "classification": (pooler, classifier),
    }[options.head]


LAYER, OURS = r"(?:bert\.)?encoder\.layer\.(\d+)\.", r"encoder.layers.\1."
HUGGINGFACE = (
    rule(r"(?:bert\.)?embeddings\.position_ids"),
    rule(r"(?:bert\.)?embeddings\.word_embeddings\.(\w+)", r"encoder.tokens.\1"),
    rule(r"(?:bert\.)?embeddings\.position_embeddings\.(\w+)", r"encoder.positions.\1"),
    rule(r"(?:bert\.)?embeddings\.token_type_embeddings\.(\w+)", r"encoder.types.\1"),
    rule(r"(?:bert\.)?embeddings\.LayerNorm\.(\w+)", r"encoder.norm.\1"),
    rule(LAYER + r"attention\.self\.(query|key|value)\.(\w+)", OURS + r"attend.body.attention.\2.\3"),
    rule(LAYER + r"attention\.output\.dense\.(\w+)", OURS + r"attend.body.attention.output.\2"),
    rule(LAYER + r"attention\.output\.LayerNorm\.(\w+)", OURS + r"attend_norm.\2"),
    rule(LAYER + r"intermediate\.dense\.(\w+)", OURS + r"feed.body.up.\2"),
    rule(LAYER + r"output\.dense\.(\w+)", OURS + r"feed.body.down.\2"),
    rule(LAYER + r"output\.LayerNorm\.(\w+)", OURS + r"feed_norm.\2"),
    rule(r"(?:bert\.)?pooler\.dense\.(\w+)", r"pooler.dense.\1"),
    rule(r"cls\.predictions\.transform\.dense\.(\w+)", r"masked_lm.dense.\1"),
    rule(r"cls\.predictions\.transform\.LayerNorm\.(\w+)", r"masked_lm.norm.\1"),
    rule(r"cls\.predictions\.decoder\.weight", same_as="encoder.tokens.weight"),
    rule(r"cls\.predictions\.decoder\.bias", same_as="masked_lm.scores.bias"),
    rule(r"cls\.predictions\.bias", r"masked_lm.scores.bias"),
    rule(r"cls\.seq_relationship\.(\w+)", r"relation.linear.\1"),
    rule(r"classifier\.(\w+)", r"classifier.scores.\1"),
)

TEMPLATE = Template(
    name="bert",
    title="BERT",
    domain="language",
    paper="Devlin et al. 2019, arXiv 1810.04805",
    sizes=SIZES,
    options=Bert,
    build=build,
    huggingface=HUGGINGFACE,
)
