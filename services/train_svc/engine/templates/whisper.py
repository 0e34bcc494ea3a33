"""Whisper: speech of 30 seconds to text (Radford et al. 2022, arXiv 2212.04356)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat, Residual
from services.train_svc.engine.architecture.blocks.convolution import Conv1d
from services.train_svc.engine.architecture.blocks.elementwise import Gelu
from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear, TiedLinear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, LayerNorm
from services.train_svc.engine.architecture.blocks.positions import FixedPositions, LearnedPositions
from services.train_svc.engine.keymap import Rule, rule
from services.train_svc.engine.reading import Checked, setting
from services.train_svc.engine.templates.entry import Template


def _size(layers: int, width: int) -> dict[str, Any]:
    return {"num_layers": layers, "d_model": width, "attention_heads": width // 64, "feed_forward": 4 * width}


SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": _size(4, 384),
    "base": {},
    "small": _size(12, 768),
    "medium": _size(24, 1024),
    "large": _size(32, 1280),
    "large-v3": {**_size(32, 1280), "num_mels": 128, "vocab_size": 51866},
}
STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Whisper(Checked):
    """Options of `whisper`; the defaults are the multilingual base model."""

    num_mels: int = setting(80, least=1)
    """Features of a frame of the log-Mel spectrogram, 100 frames a second."""
    vocab_size: int = setting(51865, least=1)
    """Tokens."""
    num_layers: int = setting(6, least=1)
    """Layers of the encoder, and of the decoder."""
    d_model: int = setting(512, least=1)
    """Features of a frame or token inside."""
    attention_heads: int = setting(8, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(2048, least=1)
    """Features inside the feed-forward layers."""
    max_frames: int = setting(3000, least=2)
    """Longest spectrogram in frames. It was trained on this length alone: pad shorter recordings with silence."""
    max_length: int = setting(448, least=1)
    """Longest text in tokens."""
    dropout: float = setting(0.0, least=0, below=1)
    """Share of the values zeroed while training."""


def build(options: Whisper) -> Description:
    """Return encoder and decoder; `step` with part `decoder` makes a token at a time from the encoder's `memory`."""
    return Description(
        name="whisper",
        inputs={
            "features": Input(shape=("time", options.num_mels)),
            "tokens": Input(shape=("length",), dtype="int64", below=options.vocab_size),
        },
        typical={"time": options.max_frames, "length": min(32, options.max_length)},
        body=(_encoder(options), _decoder(options)),
        outputs=("logits",),
    )


def _encoder(options: Whisper) -> Part:
    body = (
        Conv1d(name="conv1", out_features=options.d_model),
        Gelu(),
        Conv1d(name="conv2", out_features=options.d_model, stride=2),
        Gelu(),
        FixedPositions(name="positions", length=(options.max_frames + 1) // 2, exclusive=False),
        Dropout(rate=options.dropout),
        Repeat(name="layers", times=options.num_layers, body=(_attend("attend", options), _feed(options))),
        LayerNorm(name="norm"),
    )
    return Part(name="encoder", input="features", output="memory", body=body)


def _decoder(options: Whisper) -> Part:
    layer = (
        _attend("attend", options, causal=True),
        _attend("listen", options, memory="memory"),
        _feed(options),
    )
    body = (
        Embedding(name="tokens", vocab_size=options.vocab_size, features=options.d_model, init_std=STD),
        LearnedPositions(name="positions", length=options.max_length),
        Dropout(rate=options.dropout),
        Repeat(name="layers", times=options.num_layers, body=layer),
        LayerNorm(name="norm"),
        TiedLinear(name="scores", of="decoder.tokens"),
    )
    return Part(name="decoder", input="tokens", output="logits", body=body)


def _attend(name: str, options: Whisper, **how: Any) -> Residual:  # noqa: ANN401 - fields of Attention
    attention = Attention(heads=options.attention_heads, key_bias=False, dropout=options.dropout, init_std=STD, **how)
    return Residual(name=name, body=(LayerNorm(name="norm"), attention, Dropout(rate=options.dropout)))


def _feed(options: Whisper) -> Residual:
    body: tuple[Block, ...] = (
        LayerNorm(name="norm"),
        Linear(name="up", out_features=options.feed_forward, init_std=STD, split="column"),
        Gelu(),
        Linear(name="down", out_features=options.d_model, init_std=STD, split="row"),
        Dropout(rate=options.dropout),
    )
    return Residual(name="feed", body=body)


def _layers(side: str, theirs: str, ours: str) -> tuple[Rule, ...]:
    there, here = rf"(?:model\.)?{side}\.layers\.(\d+)\.{theirs}", rf"{side}.layers.\1.{ours}.body."
    return (
        rule(there + r"_layer_norm\.(\w+)", here + r"norm.\2"),
        rule(there + r"\.q_proj\.(\w+)", here + r"attention.query.\2"),
        rule(there + r"\.k_proj\.(\w+)", here + r"attention.key.\2"),
        rule(there + r"\.v_proj\.(\w+)", here + r"attention.value.\2"),
        rule(there + r"\.out_proj\.(\w+)", here + r"attention.output.\2"),
    )


LAYER, OURS = r"(?:model\.)?(encoder|decoder)\.layers\.(\d+)\.", r"\1.layers.\2.feed.body."
HUGGINGFACE = (
    rule(r"(?:model\.)?encoder\.conv(1|2)\.(\w+)", r"encoder.conv\1.\2"),
    rule(r"(?:model\.)?(encoder|decoder)\.embed_positions\.weight", r"\1.positions.weight"),
    rule(r"(?:model\.)?(encoder|decoder)\.layer_norm\.(\w+)", r"\1.norm.\2"),
    rule(r"(?:model\.)?decoder\.embed_tokens\.weight", "decoder.tokens.weight"),
    rule(r"proj_out\.weight", same_as="decoder.tokens.weight"),
    *_layers("encoder", "self_attn", "attend"),
    *_layers("decoder", "self_attn", "attend"),
    *_layers("decoder", "encoder_attn", "listen"),
    rule(LAYER + r"final_layer_norm\.(\w+)", OURS + r"norm.\3"),
    rule(LAYER + r"fc1\.(\w+)", OURS + r"up.\3"),
    rule(LAYER + r"fc2\.(\w+)", OURS + r"down.\3"),
)

TEMPLATE = Template(
    name="whisper",
    title="Whisper",
    domain="speech",
    paper="Radford et al. 2022, arXiv 2212.04356",
    sizes=SIZES,
    options=Whisper,
    build=build,
    huggingface=HUGGINGFACE,
)
