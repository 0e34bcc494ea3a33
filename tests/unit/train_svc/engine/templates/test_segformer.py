from pathlib import Path
from typing import Any

import pytest
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from services.common.errors import InvalidError
from services.train_svc.engine.building import build
from services.train_svc.engine.export import export_onnx
from services.train_svc.engine.templates import describe
from services.train_svc.engine.weights import save_weights
from tests.unit.train_svc.engine.parity import check_parity
from tests.unit.train_svc.engine.reference import check_huggingface

# Sides that neither strides nor reductions divide.
SMALL: dict[str, Any] = {
    "image_height": 36, "image_width": 50, "num_layers": [1, 2], "d_model": [8, 12],
    "attention_heads": [2, 3], "reductions": [4, 1], "feed_forward": 2, "decoder_features": 16,
    "num_classes": 5, "dropout": 0.0, "drop_path": 0.0,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "num_encoder_blocks": 2, "depths": [1, 2], "hidden_sizes": [8, 12], "num_attention_heads": [2, 3],
    "sr_ratios": [4, 1], "patch_sizes": [7, 3], "strides": [4, 2], "mlp_ratios": [2, 2],
    "decoder_hidden_size": 16, "num_labels": 5,
}  # fmt: skip


# B0's is published to the last parameter; the paper's table 6 gives 3.8, 13.7, 27.5, 47.3, 64.1 and 84.7 millions.
@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("b0", 3_752_694),
        ("b1", 13_715_798),
        ("b2", 27_461_974),
        ("b3", 47_337_814),
        ("b4", 64_108_374),
        ("b5", 84_708_694),
    ],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("segformer", size=size).root.parameter_count == count


def test_its_output_is_a_picture_of_scores_a_fourth_of_the_sides() -> None:
    assert describe("segformer", image_height=512, image_width=640).output_shape == (150, 128, 160)


def test_both_engines_agree(tmp_path: Path) -> None:
    check_parity(describe("segformer", **SMALL), tmp_path)


def test_hugging_faces_weights_give_its_outputs(tmp_path: Path) -> None:
    check_huggingface(
        SegformerForSemanticSegmentation(SegformerConfig(**CONFIG)),
        describe("segformer", **SMALL),
        tmp_path,
        inputs={"input": "pixel_values"},
        outputs=lambda result: {"logits": result.logits},
    )


def test_the_export_takes_any_batch(tmp_path: Path) -> None:
    description = describe("segformer", **SMALL)
    save_weights(build(description), tmp_path / "w.safetensors")
    export_onnx(description, tmp_path / "w.safetensors", tmp_path / "model.onnx")


def test_every_stage_needs_its_reduction() -> None:
    with pytest.raises(InvalidError, match=r"segformer\.reductions: got 3 numbers for the 4 of num_layers"):
        describe("segformer", reductions=[8, 4, 2])
