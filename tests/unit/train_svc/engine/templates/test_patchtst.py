from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PatchTSTConfig, PatchTSTForPrediction, PatchTSTModel

from services.common.errors import InvalidError
from services.train_svc.engine.building import build
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.parity import check_parity, close, pair
from tests.unit.train_svc.engine.reference import check_huggingface

SMALL: dict[str, Any] = {
    "context_length": 21, "horizon": 5, "patch_length": 4, "patch_stride": 3, "num_layers": 2, "d_model": 16,
    "attention_heads": 4, "feed_forward": 24,
}  # fmt: skip
PAPER: dict[str, Any] = {"pre_norm": False, "positions": "learned", "pooling": "none"}


def small_config(**more: Any) -> PatchTSTConfig:
    return PatchTSTConfig(
        context_length=21, prediction_length=5, patch_length=4, patch_stride=3, num_hidden_layers=2, d_model=16,
        num_attention_heads=4, ffn_dim=24, num_input_channels=3, **more,
    )  # fmt: skip


@pytest.mark.parametrize(("head", "count"), [("forecast", 602_264), ("none", 599_168)])
def test_published_parameter_counts(head: str, count: int) -> None:
    assert describe("PatchTST", size="default", head=head).root.parameter_count == count


@pytest.mark.parametrize("size", ["42", "64"])
def test_the_papers_sizes_have_as_many_patches_as_their_names_say(size: str) -> None:
    hidden = describe("patchtst", size=size, head="none").output_shape
    assert hidden == (None, int(size), 128)


@pytest.mark.parametrize("options", [{}, {**PAPER, "pad_end": 3}, {"norm": "layer", "head": "none"}])
def test_both_engines_agree(options: dict[str, Any], tmp_path: Path) -> None:
    check_parity(describe("patchtst", **SMALL, **options), tmp_path, variables=3)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({}, {}),
        ({"norm_type": "layernorm"}, {"norm": "layer"}),
        ({"pre_norm": False, "positional_encoding_type": "random", "pooling_type": None}, PAPER),
    ],
)
def test_hugging_faces_weights_give_its_forecast(
    config: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    check_huggingface(
        PatchTSTForPrediction(small_config(**config)),
        describe("patchtst", **SMALL, **options),
        tmp_path,
        inputs={"values": "past_values"},
        outputs=lambda result: {"logits": result.prediction_outputs},
        variables=3,
    )


def test_hugging_faces_weights_give_its_hidden_patches(tmp_path: Path) -> None:
    check_huggingface(
        PatchTSTModel(small_config()),
        describe("patchtst", head="none", **SMALL),
        tmp_path,
        inputs={"values": "past_values"},
        outputs=lambda result: {"logits": result.last_hidden_state},
        variables=3,
    )


def test_the_fixed_positions_begin_as_published() -> None:
    model = build(describe("patchtst", **SMALL))
    wanted = PatchTSTModel(small_config()).encoder.positional_encoder.position_enc
    np.testing.assert_allclose(model.state_dict()["model.standardized.alone.encoder.positions.weight"],
                               wanted.detach(), atol=1e-6)  # fmt: skip


def test_a_variable_is_forecast_without_the_others_and_in_its_own_scale(tmp_path: Path) -> None:
    model, _ = pair(describe("patchtst", **SMALL), tmp_path)
    values = torch.randn(2, 21, 4)
    with torch.no_grad():
        whole = model.eval()(values)
        close(model(values[:, :, 1:2]), whole[:, :, 1:2], "one variable alone")
        close(model(values * 100 + 7), whole * 100 + 7, "in another scale", 1e-4)


def test_patches_longer_than_the_past_are_refused() -> None:
    with pytest.raises(InvalidError, match="patch_length: got 30, more than the 21 steps"):
        describe("patchtst", **{**SMALL, "patch_length": 30})
