from pathlib import Path
from typing import Any

import pytest
from transformers import EfficientNetConfig, EfficientNetForImageClassification

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.blocks.normalization import DropPath
from services.train_svc.engine.samples import sample_inputs
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.parity import check_outputs, check_parity
from tests.unit.train_svc.engine.reference import check_huggingface
from tests.unit.train_svc.engine.templates.calibration import calibrated, calibrated_pair

BLOCKS = 8


def small(side: int, width: float = 0.25, depth: float = 0.1, padding: str = "same") -> Description:
    return describe("efficientnet", image_height=side, image_width=side, num_classes=5, width_coefficient=width,
                    depth_coefficient=depth, padding=padding, dropout=0.0, drop_path=0.0)  # fmt: skip


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("b0", 5_288_548),
        ("b1", 7_794_184),
        ("b2", 9_109_994),
        ("b3", 12_233_232),
        ("b4", 19_341_616),
        ("b5", 30_389_784),
        ("b6", 43_040_704),
        ("b7", 66_347_960),
    ],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("efficientnet", size=size).root.parameter_count == count


def test_b0_has_the_papers_cost() -> None:
    assert describe("efficientnet", size="b0").root.total_multiply_adds == pytest.approx(0.39e9, rel=0.02)


def test_blocks_are_dropped_more_often_the_deeper_they_are() -> None:
    nodes = describe("efficientnet", size="b0").root.walk()
    rates = [node.block.rate for node in nodes if isinstance(node.block, DropPath)]
    assert rates == sorted(set(rates))
    assert rates[-1] == pytest.approx(0.2 * 14 / 16)


def test_both_engines_agree(tmp_path: Path) -> None:
    # Batch norms over few pixels amplify rounding: float32 would differ from float64 itself at more blocks or rates.
    check_parity(small(160), tmp_path, lr=1e-3)


@pytest.mark.parametrize("padding", ["same", "half"])
def test_both_engines_pad_alike(padding: str, tmp_path: Path) -> None:
    description = small(64, padding=padding)
    check_outputs(*calibrated_pair(description, tmp_path), sample_inputs(description))


# From 40 pixels the strided depthwise convolutions 3 and 5 see 5 and 3, which `SAME` pads alike on all sides;
# published checkpoints list such blocks in `depthwise_padding`, here they follow from the size.
@pytest.mark.parametrize(("side", "even"), [(64, []), (40, [3, 5])])
def test_hugging_faces_weights_give_its_outputs(side: int, even: list[int], tmp_path: Path) -> None:
    config: Any = EfficientNetConfig(
        width_coefficient=0.5,
        depth_coefficient=0.3,
        hidden_dim=640,
        depthwise_padding=even,
        dropout_rate=0.0,
        drop_connect_rate=0.0,
    )
    config.num_labels = 5
    published, description = EfficientNetForImageClassification(config), small(side, width=0.5, depth=0.3)
    assert len(published.efficientnet.encoder.blocks) == BLOCKS
    check_huggingface(
        calibrated(published, description),
        description,
        tmp_path,
        inputs={"input": "pixel_values"},
        outputs=lambda result: {"logits": result.logits},
    )
