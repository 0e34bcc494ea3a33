from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import ParakeetEncoderConfig, Wav2Vec2ConformerConfig
from transformers.models.parakeet.modeling_parakeet import ParakeetEncoderBlock, ParakeetEncoderRelPositionalEncoding
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
    Wav2Vec2ConformerEncoderLayer,
    Wav2Vec2ConformerRelPositionalEmbedding,
)

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.keymap import Rule, rule, translate
from services.train_svc.engine.templates import describe
from services.train_svc.engine.weights import load_weights, save_weights
from tests.unit.train_svc.engine.parity import check_parity, close, pair
from tests.unit.train_svc.engine.reference import stirred

SMALL: dict[str, Any] = {
    "features": 12,
    "dropout": 0.0,
    "encoder": {"num_layers": 2, "d_model": 8, "attention_heads": 2, "kernel_size": 5},
}
SMALL_DECODER = {"vocab_size": 11, "embedding_dim": 6, "hidden_size": 7, "joint_size": 5}


def small(kind: str) -> Description:
    return describe("conformer", decoder={"type": kind, **SMALL_DECODER}, **SMALL)


# The counts of encoders are those of the paper's text: kernel 32, expansion 4, biases everywhere but for positions, two
# convolutions of d_model channels padded by 1 (80 bands become 20), u and v in every layer. The paper's Table 1 has the
# models with their LSTM of 320 or 640; embedding and joiner, which it does not give, are chosen to make its counts.
@pytest.mark.parametrize(
    ("size", "kind", "millions"),
    [
        ("small", "none", "8.7"),
        ("medium", "none", "27.3"),
        ("large", "none", "115.1"),
        ("small", "transducer", "10.3"),
        ("medium", "transducer", "30.7"),
        ("large", "transducer", "118.8"),
    ],
)
def test_published_parameter_counts(size: str, kind: str, millions: str) -> None:
    count = describe("conformer", size=size, decoder={"type": kind}).root.parameter_count
    assert f"{count / 1e6:.1f}" == millions


def test_the_forms_that_users_write() -> None:
    large = describe("conformer", size="large", decoder={"vocab_size": 4233})
    assert large.output_shape == (None, None, 4233)
    written = {"num_layers": 12, "d_model": 512, "attention_heads": 8}
    other = describe("Conformer", encoder=written, decoder={"vocab_size": 5000, "embedding_dim": 512})
    assert other.root.children["predictor"].children["tokens"].parameters["weight"].shape == (5000, 512)
    assert len(other.root.children["encoder"].children["layers"].children) == 12
    with pytest.raises(InvalidError, match=r"conformer\.encoder\.layers.*num_layers"):
        describe("conformer", encoder={"layers": 3})


@pytest.mark.parametrize("kind", ["transducer", "ctc", "none"])
def test_both_engines_agree(kind: str, tmp_path: Path) -> None:
    check_parity(small(kind), tmp_path, time=37, **({"labels": 3} if kind == "transducer" else {}))


def test_padding_does_not_reach_what_is_real() -> None:
    model = build(small("ctc")).eval()
    features = torch.randn(2, 45, 12)
    with torch.no_grad():
        padded = model(features, torch.tensor([45, 26]))
        close(padded[1, :7], model(features[1:, :26])[0], "a padded sample")


LAYER = r"(\d+)\."
FEEDS = {"1": "feed_first", "2": "feed_last"}
PARAKEET = (
    *(rule(LAYER + rf"norm_feed_forward{n}\.(\w+)", rf"\1.{ours}.body.norm.\2") for n, ours in FEEDS.items()),
    *(rule(LAYER + rf"feed_forward{n}\.linear1\.(\w+)", rf"\1.{ours}.body.up.\2") for n, ours in FEEDS.items()),
    *(rule(LAYER + rf"feed_forward{n}\.linear2\.(\w+)", rf"\1.{ours}.body.down.\2") for n, ours in FEEDS.items()),
    rule(LAYER + r"self_attn\.q_proj\.(\w+)", r"\1.attend.body.attention.query.\2"),
    rule(LAYER + r"self_attn\.k_proj\.(\w+)", r"\1.attend.body.attention.key.\2"),
    rule(LAYER + r"self_attn\.v_proj\.(\w+)", r"\1.attend.body.attention.value.\2"),
    rule(LAYER + r"self_attn\.o_proj\.(\w+)", r"\1.attend.body.attention.output.\2"),
    rule(LAYER + r"self_attn\.relative_k_proj\.(\w+)", r"\1.attend.body.attention.position.\2"),
    rule(LAYER + r"self_attn\.bias_u", r"\1.attend.body.attention.content_bias"),
    rule(LAYER + r"self_attn\.bias_v", r"\1.attend.body.attention.position_bias"),
    rule(LAYER + r"norm_self_att\.(\w+)", r"\1.attend.body.norm.\2"),
    rule(LAYER + r"norm_conv\.(\w+)", r"\1.convolve.body.norm.\2"),
    rule(LAYER + r"conv\.pointwise_conv1\.(\w+)", r"\1.convolve.body.expand.\2"),
    rule(LAYER + r"conv\.depthwise_conv\.(\w+)", r"\1.convolve.body.depthwise.\2"),
    rule(LAYER + r"conv\.norm\.(\w+)", r"\1.convolve.body.inner_norm.\2"),
    rule(LAYER + r"conv\.pointwise_conv2\.(\w+)", r"\1.convolve.body.project.\2"),
    rule(LAYER + r"norm_out\.(\w+)", r"\1.norm.\2"),
)
WAV2VEC2 = (
    *(rule(LAYER + rf"ffn{n}_layer_norm\.(\w+)", rf"\1.{ours}.body.norm.\2") for n, ours in FEEDS.items()),
    *(rule(LAYER + rf"ffn{n}\.intermediate_dense\.(\w+)", rf"\1.{ours}.body.up.\2") for n, ours in FEEDS.items()),
    *(rule(LAYER + rf"ffn{n}\.output_dense\.(\w+)", rf"\1.{ours}.body.down.\2") for n, ours in FEEDS.items()),
    rule(LAYER + r"self_attn\.linear_q\.(\w+)", r"\1.attend.body.attention.query.\2"),
    rule(LAYER + r"self_attn\.linear_k\.(\w+)", r"\1.attend.body.attention.key.\2"),
    rule(LAYER + r"self_attn\.linear_v\.(\w+)", r"\1.attend.body.attention.value.\2"),
    rule(LAYER + r"self_attn\.linear_out\.(\w+)", r"\1.attend.body.attention.output.\2"),
    rule(LAYER + r"self_attn\.linear_pos\.(\w+)", r"\1.attend.body.attention.position.\2"),
    rule(LAYER + r"self_attn\.pos_bias_u", r"\1.attend.body.attention.content_bias"),
    rule(LAYER + r"self_attn\.pos_bias_v", r"\1.attend.body.attention.position_bias"),
    rule(LAYER + r"self_attn_layer_norm\.(\w+)", r"\1.attend.body.norm.\2"),
    rule(LAYER + r"conv_module\.layer_norm\.(\w+)", r"\1.convolve.body.norm.\2"),
    rule(LAYER + r"conv_module\.pointwise_conv1\.(\w+)", r"\1.convolve.body.expand.\2"),
    rule(LAYER + r"conv_module\.depthwise_conv\.(\w+)", r"\1.convolve.body.depthwise.\2"),
    rule(LAYER + r"conv_module\.batch_norm\.(\w+)", r"\1.convolve.body.inner_norm.\2"),
    rule(LAYER + r"conv_module\.pointwise_conv2\.(\w+)", r"\1.convolve.body.project.\2"),
    rule(LAYER + r"final_layer_norm\.(\w+)", r"\1.norm.\2"),
)


def with_layers_of(published: nn.Module, rules: tuple[Rule, ...], tmp_path: Path) -> tuple[Any, Any]:
    """A small encoder on both engines whose layers have the published ones' weights."""
    model, other = pair(small("none"), tmp_path)
    begin = "encoder.layers."
    own = {name.removeprefix(begin): tensor for name, tensor in model.state_dict().items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in own.items()}
    theirs = translate(stirred(published).state_dict(), rules, wanted, "conformer")
    # What they do not have: biases of convolutions.
    missing = {name for name in model.state_dict() if name.startswith(begin)} - {begin + name for name in theirs}
    assert all(name.endswith("bias") for name in missing), missing
    with torch.no_grad():
        model.load_state_dict({begin + name: tensor for name, tensor in theirs.items()}, strict=False)
        for name in missing:
            model.get_parameter(name).zero_()
    save_weights(model, tmp_path / "theirs.safetensors")
    return model.eval(), load_weights(other, tmp_path / "theirs.safetensors")


def subsampled(model: Any, features: torch.Tensor) -> torch.Tensor:
    """What torch's own 2-D convolutions make of the features, as the paper's figure has them."""
    encoder, pictures = model.encoder, features[:, None]
    for layer in (encoder.whole, encoder.halved):
        pictures = functional.relu(functional.conv2d(pictures, layer.weight, layer.bias, stride=2, padding=1))
    result: torch.Tensor = encoder.input(pictures.transpose(1, 2).flatten(2))
    return result


def test_parakeets_layers_give_the_same_padding_and_all(tmp_path: Path) -> None:
    config = ParakeetEncoderConfig(hidden_size=8, num_attention_heads=2, intermediate_size=32, conv_kernel_size=5)
    config._attn_implementation = "eager"
    layers = nn.ModuleList([ParakeetEncoderBlock(config, index) for index in range(2)])
    model, other = with_layers_of(layers, PARAKEET, tmp_path)
    features, lengths = torch.randn(2, 36, 12), torch.tensor([36, 24])
    with torch.no_grad():
        x = subsampled(model, features)
        real = torch.arange(9) < torch.tensor([[9], [6]])
        # The shorter sample's frames end before its padding.
        x[1, :6] = subsampled(model, features[1:, :24])[0]
        for layer in layers:
            mask = (real[:, :, None] & real[:, None, :])[:, None]
            x = layer(x, mask, ParakeetEncoderRelPositionalEncoding(config)(x))
        got = model(features, lengths)
    for sample, length in ((0, 9), (1, 6)):
        close(got[sample, :length], x[sample, :length], f"torch's sample {sample}")
        theirs = other({"features": features.numpy(), "lengths": lengths.numpy()})
        close(theirs[sample, :length], x[sample, :length], f"TensorFlow's sample {sample}")


def test_wav2vec2_conformers_layers_give_the_same(tmp_path: Path) -> None:
    config = Wav2Vec2ConformerConfig(
        hidden_size=8, num_attention_heads=2, intermediate_size=32, conv_depthwise_kernel_size=5, hidden_act="swish",
        position_embeddings_type="relative", max_source_positions=50,
    )  # fmt: skip
    config._attn_implementation = "eager"
    layers = nn.ModuleList([Wav2Vec2ConformerEncoderLayer(config) for _ in range(2)])
    model, other = with_layers_of(layers, WAV2VEC2, tmp_path)
    features = torch.randn(2, 36, 12)
    with torch.no_grad():
        x = subsampled(model, features)
        positions = Wav2Vec2ConformerRelPositionalEmbedding(config)(x)
        for layer in layers:
            x = layer(x, relative_position_embeddings=positions)
        close(model(features), x, "torch")
        close(other({"features": features.numpy()}), x, "TensorFlow")


def test_the_transducer_adds_frames_and_labels(tmp_path: Path) -> None:
    model, _ = pair(small("transducer"), tmp_path)
    model.eval()
    features, targets = torch.randn(2, 20, 12), torch.tensor([[3, 4, 5], [6, 7, 8]])
    lstm = nn.LSTM(6, 7, batch_first=True)
    predictor, joiner = model.predictor, model.joiner
    lstm.load_state_dict(predictor.lstm.state_dict())
    with torch.no_grad():
        tokens = functional.embedding(functional.pad(targets, (1, 0)), predictor.tokens.weight)
        labels = predictor.output(lstm(tokens)[0])
        frames = joiner.frames(model.encode(features)["encoded"])
        wanted = joiner.pairs.linear(torch.tanh(frames[:, :, None] + labels[:, None]))
        close(model(features=features, targets=targets), wanted, "scores")
