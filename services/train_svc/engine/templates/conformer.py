"""Conformer: attention and convolution in one layer, for speech (Gulati et al. 2020, arXiv 2005.08100)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat, Residual
from services.train_svc.engine.architecture.blocks.convolution import SAME, Conv1d, FrameConv2d
from services.train_svc.engine.architecture.blocks.elementwise import Glu, Relu, Silu
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear
from services.train_svc.engine.architecture.blocks.normalization import BatchNorm, Dropout, LayerNorm
from services.train_svc.engine.architecture.blocks.recurrent import Lstm
from services.train_svc.engine.architecture.blocks.relative import RelativeAttention
from services.train_svc.engine.architecture.blocks.transducer import Joiner, StartToken
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {
    "small": {
        "encoder": {"d_model": 144},
        "decoder": {"embedding_dim": 96, "hidden_size": 320},
    },
    "medium": {},
    "large": {
        "encoder": {"num_layers": 17, "d_model": 512, "attention_heads": 8},
        "decoder": {"embedding_dim": 176},
    },
}
EXPANSION = 4
"""Features inside the feed-forward layers, where `feed_forward` is 0, as a multiple of `d_model`."""


@dataclass(frozen=True, kw_only=True)
class Encoder(Checked):
    """The encoder of `conformer`; the defaults are Conformer (M)."""

    num_layers: int = setting(16, least=1)
    """Conformer layers."""
    d_model: int = setting(256, least=2)
    """Features of a frame."""
    attention_heads: int = setting(4, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(0, least=0)
    """Features inside the feed-forward layers; 0: four times `d_model`."""
    kernel_size: int = setting(32, least=1)
    """Frames that a layer's convolution sees."""


@dataclass(frozen=True, kw_only=True)
class Decoder(Checked):
    """What stands on the encoder of `conformer`."""

    type: Literal["transducer", "ctc", "none"] = "transducer"
    """A transducer with one LSTM layer, as in the paper: scores [time / 4, 1 + labels, vocab_size]; a linear layer for
    CTC: scores [time / 4, vocab_size]; or nothing: `encoded` [time / 4, d_model]."""
    vocab_size: int = setting(1024, least=2)
    """Tokens, blank among them."""
    blank: int = setting(0, least=0)
    """Id of blank, with which the transducer's labels begin."""
    embedding_dim: int = setting(128, least=1)
    """Features of a token, before the LSTM."""
    hidden_size: int = setting(640, least=1)
    """Features of the LSTM."""
    joint_size: int = setting(640, least=1)
    """Features in which a frame and a label are added."""


@dataclass(frozen=True, kw_only=True)
class Conformer(Checked):
    """Options of `conformer`.

    The paper prints the sizes of its models and the features of encoder and LSTM, but not those of embedding and
    joiner. Ours make the printed sizes: 640 for the joiner, multiples of 16 for the embedding, 1024 tokens.
    """

    features: int = setting(80, least=7)
    """Log-mel energies of a frame."""
    encoder: Encoder = Encoder()
    """The encoder."""
    decoder: Decoder = Decoder()
    """What stands on it."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share of the values zeroed while training."""


def build(options: Conformer) -> Description:
    """Return the encoder with its decoder."""
    kind, below = options.decoder.type, options.decoder.vocab_size
    inputs = {
        "features": Input(shape=("time", options.features)),
        "lengths": Input(shape=(), dtype="int64", optional=True, lengths_of="features"),
    }
    typical = {"time": 400}
    if kind == "transducer":
        inputs |= {"targets": Input(shape=("labels",), dtype="int64", below=below)}
        typical |= {"labels": 20}
    outputs = ("encoded",) if kind == "none" else ()
    body = (_encoder(options), *_decoder(options))
    return Description(name="conformer", inputs=inputs, typical=typical, body=body, outputs=outputs)


def _encoder(options: Conformer) -> Part:
    inner = options.encoder
    layer = conformer_layer(
        d_model=inner.d_model,
        heads=inner.attention_heads,
        feed_forward=inner.feed_forward or EXPANSION * inner.d_model,
        kernel_size=inner.kernel_size,
        dropout=options.dropout,
        norm=BatchNorm(name="inner_norm"),
    )
    front = subsampling(options.features, inner.d_model)
    layers = Repeat(name="layers", times=inner.num_layers, body=layer)
    body = (*front, Dropout(rate=options.dropout), layers)
    return Part(name="encoder", input="features", lengths="lengths", output="encoded", body=body)


def subsampling(features: int, d_model: int, *, padding: int = 1, causal: bool = False) -> tuple[Block, ...]:
    """Return two 2-D convolutions of stride 2 and a linear layer: a quarter of the frames, `d_model` features each.

    Args:
        features: bands of a frame.
        d_model: features of the result, and channels of the convolutions.
        padding: zeros on each side of the bands, and of the time where not `causal`.
        causal: whether they run on streams.
    """
    half = (features + 2 * padding - 3) // 2 + 1

    def convolution(name: str, bands: int) -> FrameConv2d:
        return FrameConv2d(
            name=name, out_channels=d_model, bands=bands, padding=padding, causal=causal, mask_padding=True
        )

    whole, halved = convolution("whole", features), convolution("halved", half)
    return whole, Relu(), halved, Relu(), Linear(name="input", out_features=d_model)


def conformer_layer(
    *, d_model: int, heads: int, feed_forward: int, kernel_size: int, dropout: float, norm: Block, causal: bool = False
) -> tuple[Block, ...]:
    """Return half a feed-forward, attention, convolution, the other half, and a norm (section 2).

    Args:
        d_model: features of a frame.
        heads: of the attention.
        feed_forward: features inside the feed-forward layers.
        kernel_size: frames that the convolution sees.
        dropout: share of the values zeroed while training.
        norm: what follows the convolution.
        causal: the convolution sees no later frames.
    """
    drop = Dropout(rate=dropout)

    def feed(name: str) -> Residual:
        up = Linear(name="up", out_features=feed_forward, split="column")
        down = Linear(name="down", out_features=d_model, split="row")
        return Residual(name=name, scale=0.5, body=(LayerNorm(name="norm"), up, Silu(), drop, down, drop))

    attention = RelativeAttention(name="attention", heads=heads, dropout=dropout)
    convolution = (
        LayerNorm(name="norm"),
        Linear(name="expand", out_features=2 * d_model),
        Glu(),
        Conv1d(name="depthwise", out_features=d_model, kernel_size=kernel_size, groups=d_model, padding=SAME,
               causal=causal, mask_padding=True),
        norm,
        Silu(),
        Linear(name="project", out_features=d_model),
        drop,
    )  # fmt: skip
    return (
        feed("feed_first"),
        Residual(name="attend", body=(LayerNorm(name="norm"), attention, drop)),
        Residual(name="convolve", body=convolution),
        feed("feed_last"),
        LayerNorm(name="norm"),
    )


def _decoder(options: Conformer) -> tuple[Block, ...]:
    decoder = options.decoder
    if decoder.type == "none":
        return ()
    if decoder.type == "ctc":
        scores = Linear(name="scores", out_features=decoder.vocab_size)
        return (Part(name="ctc", input="encoded", output="logits", body=(scores,)),)
    predictor = (
        StartToken(token=decoder.blank),
        Embedding(name="tokens", vocab_size=decoder.vocab_size, features=decoder.embedding_dim),
        Dropout(rate=options.dropout),
        Lstm(hidden_size=decoder.hidden_size),
        Linear(name="output", out_features=decoder.joint_size),
    )
    joiner = (
        Linear(name="frames", out_features=decoder.joint_size),
        Joiner(name="pairs", labels="predicted", vocab_size=decoder.vocab_size, activation="tanh"),
    )
    return (
        Part(name="predictor", input="targets", output="predicted", body=predictor),
        Part(name="joiner", input="encoded", output="logits", body=joiner),
    )


TEMPLATE = Template(
    name="conformer",
    title="Conformer",
    domain="speech",
    paper="Gulati et al. 2020, arXiv 2005.08100",
    sizes=SIZES,
    options=Conformer,
    build=build,
)
