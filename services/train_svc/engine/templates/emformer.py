"""Emformer RNN-T: a streaming transducer with an efficient-memory Transformer (Shi et al. 2021, arXiv 2010.10759)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat, Residual
from services.train_svc.engine.architecture.blocks.elementwise import Gelu
from services.train_svc.engine.architecture.blocks.emformer import SegmentAttention, Segments, StackFrames
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, LayerNorm
from services.train_svc.engine.architecture.blocks.recurrent import Lstm
from services.train_svc.engine.architecture.blocks.transducer import Joiner, StartToken
from services.train_svc.engine.reading import Checked, fault, setting
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {"base": {}}


@dataclass(frozen=True, kw_only=True)
class Predictor(Checked):
    """The network that reads the labels so far."""

    num_layers: int = setting(3, least=1)
    """LSTM layers."""
    embedding_dim: int = setting(512, least=1)
    """Features of a token, and of each LSTM."""
    norm_eps: float = setting(1e-3, least=0)
    """Of the layer norms inside the LSTMs; 0: none."""
    dropout: float = setting(0.3, least=0, below=1)
    """Share of each LSTM's output that is zeroed while training."""


@dataclass(frozen=True, kw_only=True)
class Emformer(Checked):
    """Options of `emformer`; the defaults are torchaudio's `emformer_rnnt_base` with 4096 tokens and blank.

    In a stream a step of the part `encoder` takes `segment_length + right_context` frames, of which the last
    `right_context` come again at the start of the next step.
    """

    features: int = setting(80, least=1)
    """Log-mel energies of a frame."""
    vocab_size: int = setting(4097, least=2)
    """Tokens, blank among them."""
    blank: int = setting(-1, least=-1)
    """Id of blank, which the predictor also begins with; -1: the last."""
    num_layers: int = setting(20, least=1)
    """Layers of attention and feed-forward."""
    input_dim: int = setting(128, least=1)
    """Features of a frame before frames are stacked; the encoder has `time_reduction` times as many."""
    time_reduction: int = setting(4, least=1)
    """Frames that are stacked to one."""
    attention_heads: int = setting(8, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(2048, least=1)
    """Features inside the feed-forward layers."""
    segment_length: int = setting(16, least=1)
    """Input frames that are encoded at once: 160 ms; a multiple of `time_reduction`."""
    right_context: int = setting(4, least=0)
    """Input frames after a segment that it sees: the look-ahead; a multiple of `time_reduction`."""
    left_context: int = setting(30, least=0)
    """Stacked frames before a segment that it sees."""
    memory_size: int = setting(0, least=0)
    """Segments before it that it sees as one vector each."""
    d_model: int = setting(1024, least=1)
    """Features that encoder and predictor give to the joiner."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share of the encoder's values zeroed while training."""
    predictor: Predictor = Predictor()
    """The network that reads the labels."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: one is out of bounds, or the stacked frames do not fill a segment.
        """
        super().__post_init__()
        for name in ("segment_length", "right_context"):
            if getattr(self, name) % self.time_reduction:
                raise fault(
                    name, f"got {getattr(self, name)}, wanted a multiple of {self.time_reduction}, time_reduction"
                )
        if self.blank >= self.vocab_size:
            raise fault("blank", f"got {self.blank}, wanted below vocab_size {self.vocab_size}")


def build(options: Emformer) -> Description:
    """Return the transducer: frames and labels to scores [time / time_reduction, 1 + labels, vocab_size]."""
    return Description(
        name="emformer",
        inputs={
            "frames": Input(shape=("time", options.features)),
            "targets": Input(shape=("labels",), dtype="int64", below=options.vocab_size),
            "lengths": Input(shape=(), dtype="int64", optional=True, lengths_of="frames"),
            "target_lengths": Input(shape=(), dtype="int64", optional=True, lengths_of="targets"),
        },
        typical={"time": 400, "labels": 20},
        body=(_encoder(options), _predictor(options), _joiner(options)),
    )


def _encoder(options: Emformer) -> Part:
    cut = {
        "length": options.segment_length // options.time_reduction,
        "right_context": options.right_context // options.time_reduction,
    }
    layers = Repeat(name="layers", times=options.num_layers, body=_layer(options, cut))
    body: tuple[Block, ...] = (
        Linear(name="input", out_features=options.input_dim, bias=False),
        StackFrames(count=options.time_reduction),
        Segments(name="segments", body=(layers,), **cut),
        Linear(name="output", out_features=options.d_model),
        LayerNorm(name="norm"),
    )
    return Part(name="encoder", input="frames", lengths="lengths", output="encoded", body=body)


def _layer(options: Emformer, cut: Mapping[str, int]) -> tuple[Block, ...]:
    wide, drop = options.input_dim * options.time_reduction, Dropout(rate=options.dropout)
    attention = SegmentAttention(
        name="attention",
        heads=options.attention_heads,
        left_context=options.left_context,
        memory_size=options.memory_size,
        dropout=options.dropout,
        **cut,
    )
    feed = (
        LayerNorm(name="norm"),
        Linear(name="up", out_features=options.feed_forward, split="column"),
        Gelu(),
        drop,
        Linear(name="down", out_features=wide, split="row"),
        drop,
    )
    attend = Residual(name="attend", body=(LayerNorm(name="norm"), attention, drop))
    return attend, Residual(name="feed", body=feed), LayerNorm(name="norm")


def _predictor(options: Emformer) -> Part:
    inner, wide = options.predictor, options.predictor.embedding_dim
    lstm = (Lstm(hidden_size=wide, norm_eps=inner.norm_eps), Dropout(rate=inner.dropout))
    body: tuple[Block, ...] = (
        StartToken(token=options.blank % options.vocab_size),
        Embedding(name="tokens", vocab_size=options.vocab_size, features=wide),
        LayerNorm(name="input_norm"),
        Repeat(name="layers", times=inner.num_layers, body=lstm),
        Linear(name="output", out_features=options.d_model),
        LayerNorm(name="norm"),
    )
    return Part(name="predictor", input="targets", lengths="target_lengths", output="predicted", body=body)


def _joiner(options: Emformer) -> Part:
    joiner = Joiner(name="pairs", labels="predicted", vocab_size=options.vocab_size)
    return Part(name="joiner", input="encoded", output="logits", body=(joiner,))


TEMPLATE = Template(
    name="emformer",
    title="Emformer RNN-T",
    domain="speech",
    paper="Shi et al. 2021, arXiv 2010.10759",
    aliases=("Emformer",),
    sizes=SIZES,
    options=Emformer,
    build=build,
)
