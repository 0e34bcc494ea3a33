from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2ForPreTraining, Wav2Vec2Model

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.templates import describe
from services.train_svc.engine.weights import load_weights
from tests.unit.train_svc.engine.parity import check_parity, close, pair
from tests.unit.train_svc.engine.reference import check_huggingface, stirred

SMALL: dict[str, Any] = {
    "conv_channels": 16, "conv_kernels": [10, 3, 2], "conv_strides": [5, 2, 2], "num_layers": 2, "d_model": 16,
    "attention_heads": 4, "feed_forward": 24, "position_kernel": 8, "position_groups": 4, "vocab_size": 11,
    "codebook_entries": 6, "codevector_size": 8, "projection_size": 10,
}  # fmt: skip
SAMPLES, FRAMES = 205, 9
FORMS: dict[bool, dict[str, Any]] = {
    False: {},
    True: {"conv_bias": True, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
}


def small_config(stable: bool) -> Wav2Vec2Config:
    return Wav2Vec2Config(
        conv_dim=[16] * 3, conv_kernel=[10, 3, 2], conv_stride=[5, 2, 2], num_hidden_layers=2, hidden_size=16,
        num_attention_heads=4, intermediate_size=24, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=4,
        vocab_size=11, num_codevectors_per_group=6, codevector_dim=8, proj_codevector_dim=10, **FORMS[stable],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "options", "count"),
    [
        ("base", {}, 94_370_944),
        ("base", {"mask_embedding": True}, 94_371_712),
        ("base", {"head": "ctc", "mask_embedding": True}, 94_396_320),
        ("base", {"head": "pretraining"}, 95_044_608),
        ("large", {"mask_embedding": True}, 315_428_992),
        ("large-lv60", {"mask_embedding": True}, 315_438_720),
        ("large-lv60", {"head": "pretraining"}, 317_390_592),
    ],
)
def test_published_parameter_counts(size: str, options: dict[str, Any], count: int) -> None:
    assert describe("wav2vec 2.0", size=size, **options).root.parameter_count == count


@pytest.mark.parametrize("stable", [False, True])
def test_both_engines_agree(stable: bool, tmp_path: Path) -> None:
    description = describe("wav2vec2", head="ctc", stable=stable, dropout=0.0, **SMALL)
    check_parity(description, tmp_path, samples=SAMPLES)


def test_both_engines_agree_in_pretraining_without_noise(tmp_path: Path) -> None:
    description = describe("wav2vec2", head="pretraining", dropout=0.0, quantizer_noise=0.0, **SMALL)
    check_parity(description, tmp_path, samples=SAMPLES, frames=FRAMES)


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize(
    ("published", "head", "outputs"),
    [
        (Wav2Vec2Model, "none", lambda r: {"logits": r.last_hidden_state}),
        (Wav2Vec2ForCTC, "ctc", lambda r: {"logits": r.logits}),
    ],
)
def test_hugging_faces_weights_give_its_outputs(
    published: Any, head: str, outputs: Any, stable: bool, tmp_path: Path
) -> None:
    description = describe("wav2vec2", head=head, stable=stable, **SMALL)
    model = published(small_config(stable))
    check_huggingface(model, description, tmp_path, inputs={"waveform": "input_values"}, outputs=outputs,
                      samples=SAMPLES)  # fmt: skip


def published_pair(model: Any, description: Description, tmp_path: Path) -> tuple[Any, Any]:
    """Save Hugging Face's model and return ours of both engines with its weights."""
    stirred(model).save_pretrained(tmp_path)  # type: ignore[operator]  # transformers' method
    ours = load_weights(build(description), tmp_path, source="huggingface").eval()
    return ours, load_weights(build(description, engine="tensorflow"), tmp_path, source="huggingface")


@pytest.mark.parametrize("stable", [False, True])
def test_padded_recordings_give_what_hugging_face_gives(stable: bool, tmp_path: Path) -> None:
    description = describe("wav2vec2", stable=stable, **SMALL)
    model = Wav2Vec2Model(small_config(stable))
    ours, theirs = published_pair(model, description, tmp_path)
    waveform, lengths = torch.randn(2, SAMPLES), torch.tensor([SAMPLES, 120])
    real = torch.arange(FRAMES) < torch.tensor([[FRAMES], [5]])
    with torch.no_grad():
        wanted = model(waveform, attention_mask=torch.arange(SAMPLES) < lengths[:, None]).last_hidden_state[real]
        close(ours(waveform, lengths)[real], wanted, "torch")
    close(theirs([waveform.numpy(), lengths.numpy()]).numpy()[real.numpy()], wanted, "TensorFlow")


def test_padding_does_not_change_what_comes_before_it(tmp_path: Path) -> None:
    model, other = pair(describe("wav2vec2", stable=True, **SMALL), tmp_path)
    waveform, lengths = torch.randn(1, SAMPLES), torch.tensor([120])
    with torch.no_grad():
        alone = model.eval()(waveform[:, :120])
        close(model(waveform, lengths)[:, :5], alone, "torch")
    close(other([waveform.numpy(), lengths.numpy()])[:, :5], alone, "TensorFlow")


def test_hugging_faces_pretraining_weights_give_its_outputs(tmp_path: Path) -> None:
    description = describe("wav2vec2", head="pretraining", stable=True, **SMALL)
    model = Wav2Vec2ForPreTraining(small_config(True))
    ours, theirs = published_pair(model, description, tmp_path)
    waveform, masked = torch.randn(2, SAMPLES), torch.rand(2, FRAMES) < 0.4
    with torch.no_grad():
        wanted = model(waveform, mask_time_indices=masked)
        results = ours(waveform=waveform, masked=masked), theirs({"waveform": waveform.numpy(), "masked": masked})
    for result in results:
        close(result["predicted"], wanted.projected_states, "predicted")
        close(result["quantized"], wanted.projected_quantized_states, "quantized")


def test_weights_from_pretraining_fill_the_encoder_alone(tmp_path: Path) -> None:
    model = stirred(Wav2Vec2ForPreTraining(small_config(False)))
    conv = "wav2vec2.encoder.pos_conv_embed.conv."
    new = f"{conv}parametrizations.weight.original"
    old = {f"{new}0": f"{conv}weight_g", f"{new}1": f"{conv}weight_v"}
    assert set(old) < set(model.state_dict())
    tensors = {old.get(name, name): tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, tmp_path / "old.safetensors", {"format": "pt"})
    ours = load_weights(build(describe("wav2vec2", **SMALL)), tmp_path / "old.safetensors", source="huggingface").eval()
    waveform = torch.randn(1, SAMPLES)
    with torch.no_grad():
        close(ours(waveform), model.wav2vec2(waveform).last_hidden_state, "hidden")  # type: ignore[operator]


def test_training_draws_entries_of_the_codebooks_and_gives_the_scores_a_gradient(tmp_path: Path) -> None:
    model, other = pair(describe("wav2vec2", head="pretraining", dropout=0.0, **SMALL), tmp_path)
    waveform = torch.randn(1, SAMPLES)
    draws = [model(waveform)["quantized"] for _ in range(2)]
    draws[0].square().sum().backward()
    assert model.get_parameter("target.quantizer.scores.weight").grad.abs().sum() > 0
    assert not torch.allclose(*draws)
    draws = [other(waveform.numpy(), training=True)["quantized"].numpy() for _ in range(2)]
    assert not np.allclose(*draws)


def test_as_many_strides_as_kernels_are_wanted() -> None:
    with pytest.raises(InvalidError, match="conv_strides: got 2, wanted one for each of the 3 kernels"):
        describe("wav2vec2", **{**SMALL, "conv_strides": [5, 2]})
