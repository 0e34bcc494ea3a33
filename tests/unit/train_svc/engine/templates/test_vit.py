from pathlib import Path
from typing import Any

import pytest
from transformers import ViTConfig, ViTForImageClassification

from services.train_svc.engine.building import build
from services.train_svc.engine.export import export_onnx
from services.train_svc.engine.templates import describe
from services.train_svc.engine.weights import save_weights
from tests.unit.train_svc.engine.parity import check_parity
from tests.unit.train_svc.engine.reference import check_huggingface

SMALL: dict[str, Any] = {
    "image_height": 24, "image_width": 17, "patch_size": 8, "num_layers": 2, "d_model": 16, "attention_heads": 4,
    "feed_forward": 24, "num_classes": 3,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "image_size": [24, 17], "patch_size": 8, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4,
    "intermediate_size": 24, "num_labels": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("tiny", 5_717_416),
        ("small", 22_050_664),
        ("base", 86_567_656),
        ("base32", 88_224_232),
        ("large", 304_326_632),
        ("large32", 306_535_400),
        ("huge", 632_045_800),
    ],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("vit", size=size).root.parameter_count == count


def test_both_engines_agree(tmp_path: Path) -> None:
    check_parity(describe("vit", dropout=0.0, **SMALL), tmp_path)


def test_hugging_faces_weights_give_its_outputs(tmp_path: Path) -> None:
    published = ViTForImageClassification(ViTConfig(**CONFIG))
    check_huggingface(
        published, describe("vit", **SMALL), tmp_path,
        inputs={"input": "pixel_values"}, outputs=lambda result: {"logits": result.logits},
    )  # fmt: skip


def test_the_export_takes_any_batch(tmp_path: Path) -> None:
    description = describe("vit", **SMALL)
    save_weights(build(description), tmp_path / "w.safetensors")
    export_onnx(description, tmp_path / "w.safetensors", tmp_path / "model.onnx")
