"""Tacotron 2: text to mel spectrograms, frame by frame (Shen et al. 2018, arXiv 1712.05884)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.alignment import (
    TANH_GAIN,
    Alignment,
    DynamicConvolutionAttention,
    LocationSensitiveAttention,
)
from services.train_svc.engine.architecture.blocks.combine import Concat, Load, Part, Repeat, Residual, Save, Sequential
from services.train_svc.engine.architecture.blocks.convolution import Conv1d
from services.train_svc.engine.architecture.blocks.elementwise import Relu, Tanh
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear
from services.train_svc.engine.architecture.blocks.normalization import BatchNorm, Dropout
from services.train_svc.engine.architecture.blocks.recurrent import Feedback, Lstm, ShiftRight
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template

SIZES: Mapping[str, Mapping[str, Any]] = {"base": {}}
RELU_GAIN = 2**0.5


@dataclass(frozen=True, kw_only=True)
class Tacotron2(Checked):
    """Options of `tacotron2`; the defaults are the paper's, with the 148 symbols of NVIDIA's implementation.

    To synthesise, pass what `encode` gives to `initial_state(part="decoder")`, then feed `step(part="decoder")` zeros
    first and each `mel` that came out after, until `gate` is above 0; then run the part `postnet` over all frames.
    """

    vocab_size: int = setting(148, least=1)
    """Symbols of the text."""
    features: int = setting(80, least=1)
    """Mel energies of a frame."""
    d_model: int = setting(512, least=2)
    """Features of a symbol; even, half of them from each direction of the encoder's LSTM."""
    num_layers: int = setting(3, least=1)
    """Convolutions of the encoder."""
    kernel_size: int = setting(5, least=1)
    """Of the convolutions of encoder and postnet; odd."""
    prenet_dim: int = setting(256, least=1)
    """Features of the two layers that the last frame passes."""
    rnn_dim: int = setting(1024, least=1)
    """Features of each of the decoder's LSTMs."""
    attention: Literal["location_sensitive", "dynamic_convolution"] = "location_sensitive"
    """What aligns frames and symbols: the paper's, or Dynamic Convolution Attention (Battenberg et al. 2020, arXiv
    1910.10288), which keeps its way through texts longer than those of the training."""
    attention_dim: int = setting(128, least=1)
    """Features inside the attention."""
    postnet_layers: int = setting(5, least=2)
    """Convolutions of the postnet."""
    postnet_dim: int = setting(512, least=1)
    """Channels of the postnet."""
    dropout: float = setting(0.5, least=0, below=1)
    """Share of the convolutions' outputs zeroed while training."""
    rnn_dropout: float = setting(0.1, least=0, below=1)
    """Share of the decoder's LSTMs' outputs zeroed while training."""
    prenet_dropout: float = setting(0.5, least=0, below=1)
    """Share of the prenet's values that is zeroed, in use too, as it was trained. 0: the same speech every time."""


def build(options: Tacotron2) -> Description:
    """Return the model: symbols and the frames to learn to `mel`, `mel_postnet`, `gate` and `alignments`."""
    return Description(
        name="tacotron2",
        inputs={
            "tokens": Input(shape=("symbols",), dtype="int64", below=options.vocab_size),
            "frames": Input(shape=("time", options.features)),
            "lengths": Input(shape=(), dtype="int64", optional=True, lengths_of="tokens"),
            "frame_lengths": Input(shape=(), dtype="int64", optional=True, lengths_of="frames"),
        },
        typical={"symbols": 40, "time": 100},
        body=(_encoder(options), _decoder(options), _postnet(options)),
        outputs=("mel", "mel_postnet", "gate", "alignments"),
    )


def _convolution(options: Tacotron2, channels: int, gain: float) -> tuple[Block, ...]:
    convolution = Conv1d(out_features=channels, kernel_size=options.kernel_size, mask_padding=True, init_gain=gain)
    return convolution, BatchNorm()


def _encoder(options: Tacotron2) -> Part:
    convolution = (*_convolution(options, options.d_model, RELU_GAIN), Relu(), Dropout(rate=options.dropout))
    # The spread that NVIDIA's implementation begins with.
    spread = (2 / (options.vocab_size + options.d_model)) ** 0.5
    body: tuple[Block, ...] = (
        Embedding(name="tokens", vocab_size=options.vocab_size, features=options.d_model, init_std=spread),
        Repeat(name="convolutions", times=options.num_layers, body=convolution),
        Lstm(hidden_size=options.d_model // 2, bidirectional=True),
    )
    return Part(name="encoder", input="tokens", lengths="lengths", output="encoded", body=body)


def _decoder(options: Tacotron2) -> Part:
    recurrent = (Lstm(hidden_size=options.rnn_dim), Dropout(rate=options.rnn_dropout))
    context = Sequential(name="look", body=(_attention(options), Save(value="context")))
    looked = Concat(name="looked", branches=(Sequential(name="heard"), context))
    aligned = Feedback(name="aligned", features=options.d_model, keep=("context", "alignments"),
                       body=(*recurrent, looked))  # fmt: skip
    body: tuple[Block, ...] = (
        ShiftRight(),
        *_prenet(options),
        aligned,
        Concat(name="spoken", branches=(Sequential(name="recurrent", body=recurrent), Load(value="context"))),
        Save(value="spoken"),
        Linear(name="gate", out_features=1, init_gain=1.0),
        Save(name="save_gate", value="gate"),
        Load(value="spoken"),
        Linear(name="mel", out_features=options.features, init_gain=1.0),
    )
    return Part(name="decoder", input="frames", lengths="frame_lengths", output="mel", body=body)


def _prenet(options: Tacotron2) -> tuple[Block, ...]:
    drop = Dropout(rate=options.prenet_dropout, always=True)
    first, second = (
        Linear(name=name, out_features=options.prenet_dim, bias=False, init_gain=1.0) for name in ("prenet", "prenet_2")
    )
    return first, Relu(), drop, second, Relu(), drop


def _attention(options: Tacotron2) -> Alignment:
    kind = LocationSensitiveAttention if options.attention == "location_sensitive" else DynamicConvolutionAttention
    return kind(name="attention", memory="encoded", weights="alignments", features=options.attention_dim)


def _postnet(options: Tacotron2) -> Part:
    inner = (*_convolution(options, options.postnet_dim, TANH_GAIN), Tanh(), Dropout(rate=options.dropout))
    last = (*_convolution(options, options.features, 1.0), Dropout(rate=options.dropout))
    layers = [Sequential(name=f"layer_{index}", body=inner) for index in range(options.postnet_layers - 1)]
    refine = Residual(name="refine", body=(*layers, Sequential(name="last", body=last)))
    return Part(name="postnet", input="mel", output="mel_postnet", body=(refine,))


TEMPLATE = Template(
    name="tacotron2",
    title="Tacotron 2",
    domain="speech",
    paper="Shen et al. 2018, arXiv 1712.05884",
    sizes=SIZES,
    options=Tacotron2,
    build=build,
)
