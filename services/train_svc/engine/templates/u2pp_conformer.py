"""U2++ Conformer: one model for streams and for whole recordings (Wu et al. 2021, arXiv 2106.05642).

A causal Conformer encoder that sees chunks of any size, a CTC head for the first pass, and two attention decoders, one
from left to right and one from right to left, that score its hypotheses in the second: each runs alone as a part.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat, Residual
from services.train_svc.engine.architecture.blocks.elementwise import Relu, Scale
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, LayerNorm
from services.train_svc.engine.architecture.blocks.positions import SinusoidalPositions
from services.train_svc.engine.architecture.blocks.streaming import Streaming
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.conformer import conformer_layer, subsampling
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {"base": {}}
REDUCTION = 4
"""Input frames in one frame of the encoder."""


@dataclass(frozen=True, kw_only=True)
class Encoder(Checked):
    """The encoder of `u2pp_conformer`."""

    num_layers: int = setting(12, least=1)
    """Conformer layers."""
    d_model: int = setting(256, least=2)
    """Features of a frame, and of a token in the decoders."""
    attention_heads: int = setting(4, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(2048, least=1)
    """Features inside the feed-forward layers."""
    kernel_size: int = setting(8, least=1)
    """Frames that a layer's convolution sees: the last ones."""
    chunk_size: int = setting(16, least=1)
    """Encoder frames a chunk: 16 are 640 ms of speech. A step takes four times as many input frames."""
    left_chunks: int = setting(-1, least=-1)
    """Chunks before its own that a frame sees; -1: all, so that what a stream carries grows."""
    dynamic: bool = True
    """While training, draw the chunk size of each batch, so that the model serves any."""
    dynamic_left: bool = False
    """While training, draw the number of left chunks too."""


@dataclass(frozen=True, kw_only=True)
class Decoder(Checked):
    """The decoders of `u2pp_conformer`, and the CTC head."""

    vocab_size: int = setting(4233, least=2)
    """Tokens, with blank and the one that begins and ends a sentence; the default is AISHELL-1's characters."""
    num_layers: int = setting(3, least=0)
    """Layers of the decoder from left to right; 0: CTC alone."""
    reverse_layers: int = setting(3, least=0)
    """Layers of the decoder from right to left; 0: none, which is U2 (arXiv 2012.05481)."""
    attention_heads: int = setting(4, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(2048, least=1)
    """Features inside the feed-forward layers."""


@dataclass(frozen=True, kw_only=True)
class U2ppConformer(Checked):
    """Options of `u2pp_conformer`; the defaults are WeNet's for AISHELL-1.

    Outputs are scores before the softmax: `ctc` [time / 4, vocab_size], `logits` and `reverse_logits` [labels,
    vocab_size]. `targets` are the labels with the start token before them, `reverse_targets` the start token and then
    the labels from the last to the first. How the losses are weighted (CTC 0.3, reverse 0.3) is a matter of training.
    """

    features: int = setting(80, least=7)
    """Log-mel energies of a frame."""
    encoder: Encoder = Encoder()
    """The encoder."""
    decoder: Decoder = Decoder()
    """What stands on it."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share of the values zeroed while training."""


def build(options: U2ppConformer) -> Description:
    """Return the encoder with its three heads."""
    layers = options.decoder.num_layers, options.decoder.reverse_layers
    given = [("targets", "decoder", "logits"), ("reverse_targets", "reverse_decoder", "reverse_logits")]
    decoders = [(*names, depth) for names, depth in zip(given, layers, strict=True) if depth]
    words = Input(shape=("labels",), dtype="int64", below=options.decoder.vocab_size)
    scores = Linear(name="scores", out_features=options.decoder.vocab_size)
    return Description(
        name="u2pp_conformer",
        inputs={
            "features": Input(shape=("time", options.features)),
            "lengths": Input(shape=(), dtype="int64", optional=True, lengths_of="features"),
            **{source: words for source, *_ in decoders},
        },
        typical={"time": 8 * REDUCTION * options.encoder.chunk_size} | ({"labels": 20} if decoders else {}),
        body=(
            _encoder(options),
            Part(name="ctc", input="encoded", output="ctc", body=(scores,)),
            *(_decoder(options, *decoder) for decoder in decoders),
        ),
        outputs=("ctc", *(output for _, _, output, _ in decoders)),
    )


def _encoder(options: U2ppConformer) -> Part:
    inner = options.encoder
    layer = conformer_layer(
        d_model=inner.d_model,
        heads=inner.attention_heads,
        feed_forward=inner.feed_forward,
        kernel_size=inner.kernel_size,
        dropout=options.dropout,
        norm=LayerNorm(name="inner_norm"),
        causal=True,
    )
    stream = Streaming(
        name="stream",
        chunk_size=inner.chunk_size,
        left_chunks=inner.left_chunks,
        dynamic=inner.dynamic,
        dynamic_left=inner.dynamic_left,
        body=(Repeat(name="layers", times=inner.num_layers, body=layer), LayerNorm(name="norm")),
    )
    front = subsampling(options.features, inner.d_model, padding=0, causal=True)
    body = (*front, Scale(by=math.sqrt(inner.d_model)), Dropout(rate=options.dropout), stream)
    return Part(name="encoder", input="features", lengths="lengths", output="encoded", body=body)


def _decoder(options: U2ppConformer, source: str, name: str, output: str, layers: int) -> Part:
    wide, vocabulary = options.encoder.d_model, options.decoder.vocab_size
    body: tuple[Block, ...] = (
        Embedding(name="tokens", vocab_size=vocabulary, features=wide, scale=math.sqrt(wide)),
        SinusoidalPositions(interleaved=True),
        Dropout(rate=options.dropout),
        Repeat(name="layers", times=layers, body=_layer(options)),
        LayerNorm(name="norm"),
        Linear(name="scores", out_features=vocabulary),
    )
    return Part(name=name, input=source, output=output, body=body)


def _layer(options: U2ppConformer) -> tuple[Block, ...]:
    heads, drop = options.decoder.attention_heads, Dropout(rate=options.dropout)
    attention = Attention(name="attention", heads=heads, causal=True, dropout=options.dropout)
    cross = Attention(name="attention", heads=heads, memory="encoded", dropout=options.dropout)
    feed = (
        LayerNorm(name="norm"),
        Linear(name="up", out_features=options.decoder.feed_forward, split="column"),
        Relu(),
        drop,
        Linear(name="down", out_features=options.encoder.d_model, split="row"),
        drop,
    )
    return (
        Residual(name="attend", body=(LayerNorm(name="norm"), attention, drop)),
        Residual(name="cross", body=(LayerNorm(name="norm"), cross, drop)),
        Residual(name="feed", body=feed),
    )


TEMPLATE = Template(
    name="u2pp_conformer",
    title="U2++ Conformer",
    domain="speech",
    paper="Wu et al. 2021, arXiv 2106.05642",
    aliases=("U2++",),
    sizes=SIZES,
    options=U2ppConformer,
    build=build,
)
