from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import sinusoids

from services.train_svc.engine.building import build
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.decoding import check_decoding
from tests.unit.train_svc.engine.parity import check_parity
from tests.unit.train_svc.engine.reference import check_huggingface

SMALL: dict[str, Any] = {
    "num_mels": 6, "vocab_size": 50, "num_layers": 2, "d_model": 16, "attention_heads": 4, "feed_forward": 24,
    "max_frames": 20, "max_length": 12,
}  # fmt: skip


class TimeFirst(WhisperForConditionalGeneration):  # type: ignore[misc]  # mypy does not read transformers
    """Hugging Face's model, given [time, mels] as ours is."""

    def forward(self, input_features: torch.Tensor, **more: Any) -> Any:
        return super().forward(input_features.transpose(1, 2), **more)


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("tiny", 37_760_640),
        ("base", 72_593_920),
        ("small", 241_734_912),
        ("medium", 763_857_920),
        ("large", 1_543_304_960),
        ("large-v3", 1_543_490_560),
    ],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("whisper", size=size).root.parameter_count == count


def test_both_engines_agree(tmp_path: Path) -> None:
    check_parity(describe("whisper", **SMALL), tmp_path, time=20, length=7)


def test_hugging_faces_weights_give_its_outputs(tmp_path: Path) -> None:
    config = WhisperConfig(
        vocab_size=50, num_mel_bins=6, encoder_layers=2, decoder_layers=2, d_model=16, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=24, decoder_ffn_dim=24, max_source_positions=10,
        max_target_positions=12, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    check_huggingface(
        TimeFirst(config),
        describe("whisper", **SMALL),
        tmp_path,
        inputs={"features": "input_features", "tokens": "decoder_input_ids"},
        outputs=lambda result: {"logits": result.logits},
        time=20,
        length=9,
    )


def test_a_token_at_a_time_gives_what_all_give_at_once(tmp_path: Path) -> None:
    check_decoding(describe("whisper", **SMALL), tmp_path, part="decoder", time=20, length=10)


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_the_encoders_positions_begin_as_published_and_are_not_trained(engine: Any) -> None:
    description = describe("whisper", **SMALL)
    table = description.root.children["encoder"].children["positions"].parameters["weight"]
    assert not table.trainable
    model = build(description, engine=engine)
    begun = model.get_buffer("encoder.positions.weight") if engine == "torch" else (
        model.inner["encoder"].inner["positions"].own["weight"]
    )  # fmt: skip
    np.testing.assert_allclose(np.asarray(begun), sinusoids(10, 16), atol=1e-6)
