from pathlib import Path
from typing import Any

import pytest
from transformers import SwinConfig, SwinForImageClassification

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.export import export_onnx
from services.train_svc.engine.templates import describe
from services.train_svc.engine.weights import save_weights
from tests.unit.train_svc.engine.parity import check_parity
from tests.unit.train_svc.engine.reference import check_huggingface

SMALL: dict[str, Any] = {
    "window": 4, "num_layers": [2, 1], "d_model": 8, "attention_heads": [2, 4],
    "feed_forward": 2, "num_classes": 3, "drop_path": 0.0,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 4], "window_size": 4, "mlp_ratio": 2.0, "num_labels": 3,
    "drop_path_rate": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("size", "count"),
    [("tiny", 28_288_354), ("small", 49_606_258), ("base", 87_768_224), ("large", 196_532_476)],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("swin", size=size).root.parameter_count == count


# Windows do not fill the second picture, its pixels cannot all be merged, and its last patches are not whole.
SIDES = [(32, 48), (41, 58)]


def small(sides: tuple[int, int]) -> Description:
    return describe("swin", **SMALL | {"image_height": sides[0], "image_width": sides[1]})


def test_both_engines_agree(tmp_path: Path) -> None:
    check_parity(small(SIDES[1]), tmp_path)


@pytest.mark.parametrize("sides", SIDES)
def test_hugging_faces_weights_give_its_outputs(sides: tuple[int, int], tmp_path: Path) -> None:
    check_huggingface(
        SwinForImageClassification(SwinConfig(**CONFIG, image_size=list(sides))),
        small(sides),
        tmp_path,
        inputs={"input": "pixel_values"},
        outputs=lambda result: {"logits": result.logits},
    )


def test_the_export_takes_any_batch(tmp_path: Path) -> None:
    description = small(SIDES[1])
    save_weights(build(description), tmp_path / "w.safetensors")
    export_onnx(description, tmp_path / "w.safetensors", tmp_path / "model.onnx")


def test_every_stage_needs_its_number_of_heads() -> None:
    with pytest.raises(InvalidError, match=r"swin\.attention_heads: got 3 numbers for the 4 of num_layers"):
        describe("swin", attention_heads=[3, 6, 12])
