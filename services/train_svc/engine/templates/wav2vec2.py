"""wav2vec 2.0: a Transformer over a convolved waveform (Baevski et al. 2020, arXiv 2006.11477)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.train_svc.engine.architecture import Block, Description, Input
from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.architecture.blocks.channels import AddChannel
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat, Residual, Save
from services.train_svc.engine.architecture.blocks.convolution import Conv1d
from services.train_svc.engine.architecture.blocks.elementwise import Gelu
from services.train_svc.engine.architecture.blocks.linear import Linear
from services.train_svc.engine.architecture.blocks.normalization import Dropout, GroupNorm, LayerNorm
from services.train_svc.engine.architecture.blocks.pretraining import MaskedFrames, ProductQuantizer
from services.train_svc.engine.architecture.blocks.weight_norm import PositionalConv1d
from services.train_svc.engine.keymap import rule
from services.train_svc.engine.reading import Checked, fault, setting
from services.train_svc.engine.templates.entry import Template

LARGE: Mapping[str, Any] = {
    "num_layers": 24, "d_model": 1024, "attention_heads": 16, "feed_forward": 4096,
    "codevector_size": 768, "projection_size": 768,
}  # fmt: skip
SIZES: Mapping[str, Mapping[str, Any]] = {"base": {}, "large": LARGE, "large-lv60": {**LARGE, "stable": True}}
STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2(Checked):
    """Options of `wav2vec2`; the defaults are the base model."""

    conv_channels: int = setting(512, least=1)
    """Features of each convolution over the waveform."""
    conv_kernels: tuple[int, ...] = setting((10, 3, 3, 3, 3, 2, 2), least=1)
    """Samples or frames that each convolution sees."""
    conv_strides: tuple[int, ...] = setting((5, 2, 2, 2, 2, 2, 2), least=1)
    """Steps of each convolution; their product is the samples of a frame: 320, which is 20 ms at 16 kHz."""
    num_layers: int = setting(12, least=1)
    """Layers of attention and feed-forward."""
    d_model: int = setting(768, least=1)
    """Features of a frame."""
    attention_heads: int = setting(12, least=1)
    """Heads of each attention."""
    feed_forward: int = setting(3072, least=1)
    """Features inside the feed-forward layers."""
    position_kernel: int = setting(128, least=1)
    """Frames that the convolution which stands for positions sees."""
    position_groups: int = setting(16, least=1)
    """Groups of that convolution."""
    stable: bool = False
    """As large models on much data have it (LV-60, XLS-R): layer norms and biases in the convolutions, and norms before
    the layers. Otherwise one group norm after the first convolution, whose mean and variance take in the padding, as
    in Hugging Face's: padding then moves the real frames a little."""
    mask_embedding: bool = False
    """Input `masked` [frames] names frames that are hidden from the encoder, as in training; published checkpoints of
    Hugging Face have its vector. `pretraining` always has it."""
    dropout: float = setting(0.1, least=0, below=1)
    """Share of the values zeroed while training."""
    head: Literal["none", "ctc", "pretraining"] = "none"
    """What stands on the encoder: output `hidden`; token scores `logits`; or `predicted` and the `quantized` that it
    should be near to where frames are masked, with the codebooks' `probabilities`."""
    vocab_size: int = setting(32, least=1)
    """Tokens of the `ctc` head, its blank included."""
    codebooks: int = setting(2, least=1)
    """Of the quantizer in `pretraining`."""
    codebook_entries: int = setting(320, least=1)
    """Vectors in each codebook."""
    codevector_size: int = setting(256, least=1)
    """Features of the codebooks together."""
    projection_size: int = setting(256, least=1)
    """Features in which prediction and target are compared."""
    quantizer_noise: float = setting(1.0, least=0)
    """Multiplies the Gumbel noise of the quantizer while training."""


def build(options: Wav2Vec2) -> Description:
    """Return the encoder with its head."""
    if len(options.conv_kernels) != len(options.conv_strides):
        message = f"got {len(options.conv_strides)}, wanted one for each of the {len(options.conv_kernels)} kernels"
        raise fault("conv_strides", message)
    inputs = {
        "waveform": Input(shape=("samples",)),
        "lengths": Input(shape=(), dtype="int64", optional=True, lengths_of="waveform"),
    }
    typical = {"samples": 16000}
    if _masks(options):
        inputs["masked"] = Input(shape=("frames",), dtype="bool", optional=True)
        typical["frames"] = _frames(options, typical["samples"])
    outputs = {"none": ("hidden",), "ctc": ("logits",), "pretraining": ("predicted", "quantized", "probabilities")}
    body = (_extractor(options), _encoder(options), *_head(options))
    return Description(name="wav2vec2", inputs=inputs, typical=typical, body=body, outputs=outputs[options.head])


def _masks(options: Wav2Vec2) -> bool:
    return options.mask_embedding or options.head == "pretraining"


def _frames(options: Wav2Vec2, samples: int) -> int:
    for kernel, stride in zip(options.conv_kernels, options.conv_strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def _extractor(options: Wav2Vec2) -> Part:
    body: list[Block] = [AddChannel()]
    for index, (kernel, stride) in enumerate(zip(options.conv_kernels, options.conv_strides, strict=True)):
        body.append(Conv1d(name=f"conv{index}", out_features=options.conv_channels, kernel_size=kernel, stride=stride,
                           padding=0, bias=options.stable, init="normal"))  # fmt: skip
        if options.stable:
            body.append(LayerNorm(name=f"norm{index}"))
        elif index == 0:
            body.append(GroupNorm(name="norm0"))
        body.append(Gelu())
    body += [LayerNorm(name="norm"), Save(value="features")]
    return Part(name="extractor", input="waveform", lengths="lengths", body=tuple(body))


def _encoder(options: Wav2Vec2) -> Part:
    drop, norm = Dropout(rate=options.dropout), LayerNorm(name="norm")
    position = PositionalConv1d(name="conv", kernel_size=options.position_kernel, groups=options.position_groups)
    layers = Repeat(name="layers", times=options.num_layers, body=_layer(options))
    return Part(
        name="encoder",
        output="hidden",
        body=(
            Linear(name="project", out_features=options.d_model),
            *((MaskedFrames(name="mask", input="masked"),) if _masks(options) else ()),
            Residual(name="position", body=(position, Gelu())),
            *((drop, layers, norm) if options.stable else (norm, drop, layers)),
        ),
    )


def _layer(options: Wav2Vec2) -> tuple[Block, ...]:
    drop = Dropout(rate=options.dropout)
    attend = (Attention(heads=options.attention_heads, dropout=options.dropout, init_std=STD), drop)
    up = Linear(name="up", out_features=options.feed_forward, init_std=STD, split="column")
    down = Linear(name="down", out_features=options.d_model, init_std=STD, split="row")
    feed = (up, Gelu(), drop, down, Dropout(name="drop", rate=options.dropout))
    if options.stable:
        norm = LayerNorm(name="norm")
        return Residual(name="attend", body=(norm, *attend)), Residual(name="feed", body=(norm, *feed))
    return (
        Residual(name="attend", body=attend), LayerNorm(name="attend_norm"),
        Residual(name="feed", body=feed), LayerNorm(name="feed_norm"),
    )  # fmt: skip


def _head(options: Wav2Vec2) -> tuple[Block, ...]:
    scores = Linear(name="scores", out_features=options.vocab_size, init_std=STD)
    project = Linear(name="project", out_features=options.projection_size)
    quantizer = ProductQuantizer(
        name="quantizer",
        groups=options.codebooks,
        entries=options.codebook_entries,
        features=options.codevector_size,
        noise=options.quantizer_noise,
        probabilities="probabilities",
    )
    return {
        "none": (),
        "ctc": (Part(name="ctc", output="logits", body=(Dropout(rate=options.dropout), scores)),),
        "pretraining": (
            Part(name="predictor", output="predicted", body=(project,)),
            Part(name="target", input="features", output="quantized", body=(quantizer, project)),
        ),
    }[options.head]


FROM = r"(?:wav2vec2\.)?"
CONV, LAYER = FROM + r"feature_extractor\.conv_layers\.(\d+)\.", FROM + r"encoder\.layers\.(\d+)\."
POSITION, OURS = FROM + r"encoder\.pos_conv_embed\.conv\.", r"encoder.layers.\1."
COMMON = (
    rule(CONV + r"conv\.(\w+)", r"extractor.conv\1.\2"),
    rule(CONV + r"layer_norm\.(\w+)", r"extractor.norm\1.\2"),
    rule(FROM + r"feature_projection\.layer_norm\.(\w+)", r"extractor.norm.\1"),
    rule(FROM + r"feature_projection\.projection\.(\w+)", r"encoder.project.\1"),
    rule(FROM + r"masked_spec_embed", "encoder.mask.weight"),
    rule(POSITION + r"bias", "encoder.position.body.conv.bias"),
    rule(POSITION + r"weight_(g|v)", r"encoder.position.body.conv.weight_\1"),
    rule(POSITION + r"parametrizations\.weight\.original0", "encoder.position.body.conv.weight_g"),
    rule(POSITION + r"parametrizations\.weight\.original1", "encoder.position.body.conv.weight_v"),
    rule(FROM + r"encoder\.layer_norm\.(\w+)", r"encoder.norm.\1"),
    rule(LAYER + r"attention\.q_proj\.(\w+)", OURS + r"attend.body.attention.query.\2"),
    rule(LAYER + r"attention\.k_proj\.(\w+)", OURS + r"attend.body.attention.key.\2"),
    rule(LAYER + r"attention\.v_proj\.(\w+)", OURS + r"attend.body.attention.value.\2"),
    rule(LAYER + r"attention\.out_proj\.(\w+)", OURS + r"attend.body.attention.output.\2"),
    rule(LAYER + r"feed_forward\.intermediate_dense\.(\w+)", OURS + r"feed.body.up.\2"),
    rule(LAYER + r"feed_forward\.output_dense\.(\w+)", OURS + r"feed.body.down.\2"),
    rule(r"lm_head\.(\w+)", r"ctc.scores.\1"),
    rule(r"quantizer\.codevectors", "target.quantizer.weight"),
    rule(r"quantizer\.weight_proj\.(\w+)", r"target.quantizer.scores.\1"),
    rule(r"project_hid\.(\w+)", r"predictor.project.\1"),
    rule(r"project_q\.(\w+)", r"target.project.\1"),
)
NORMS = (
    rule(LAYER + r"layer_norm\.(\w+)", OURS + r"attend_norm.\2"),
    rule(LAYER + r"layer_norm\.(\w+)", OURS + r"attend.body.norm.\2"),
    rule(LAYER + r"final_layer_norm\.(\w+)", OURS + r"feed_norm.\2"),
    rule(LAYER + r"final_layer_norm\.(\w+)", OURS + r"feed.body.norm.\2"),
)
LEFT_OUT = (rule(r"wav2vec2\.masked_spec_embed|masked_spec_embed|quantizer\..*|project_(?:hid|q)\..*"),)
"""What a published checkpoint has from its training, where the model here has no place for it."""

TEMPLATE = Template(
    name="wav2vec2",
    title="wav2vec 2.0",
    domain="speech",
    paper="Baevski et al. 2020, arXiv 2006.11477",
    sizes=SIZES,
    options=Wav2Vec2,
    build=build,
    huggingface=(*COMMON, *NORMS, *LEFT_OUT),
)
