from pathlib import Path
from typing import Any

import pytest
from transformers import ConvNextConfig, ConvNextForImageClassification

from services.common.errors import InvalidError
from services.train_svc.engine.architecture.blocks.normalization import DropPath
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.parity import check_parity
from tests.unit.train_svc.engine.reference import check_huggingface
from tests.unit.train_svc.engine.templates.calibration import calibrated

SMALL: dict[str, Any] = {
    "depths": (1, 2),
    "widths": (8, 12),
    "image_height": 32,
    "image_width": 28,
    "num_classes": 5,
}


@pytest.mark.parametrize(
    ("size", "count"),
    [("tiny", 28_589_128), ("small", 50_223_688), ("base", 88_591_464), ("large", 197_767_336)],
)
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("convnext", size=size).root.parameter_count == count


@pytest.mark.parametrize(("size", "cost"), [("tiny", 4.5e9), ("large", 34.4e9)])
def test_the_papers_costs(size: str, cost: float) -> None:
    assert describe("convnext", size=size).root.total_multiply_adds == pytest.approx(cost, rel=0.01)


def test_the_share_of_dropped_blocks_grows_from_0_to_the_rate() -> None:
    nodes = describe("convnext", size="tiny", drop_path=0.34).root.walk()
    rates = [node.block.rate for node in nodes if isinstance(node.block, DropPath)]
    assert rates == pytest.approx([0.02 * block for block in range(1, 18)])


def test_a_stage_without_a_width_is_refused() -> None:
    with pytest.raises(InvalidError, match="widths: got 4 numbers, wanted one a stage, 2"):
        describe("convnext", depths=(3, 3))


def test_both_engines_agree(tmp_path: Path) -> None:
    check_parity(describe("convnext", drop_path=0.0, layer_scale=0.5, **SMALL), tmp_path)


def test_hugging_faces_weights_give_its_outputs(tmp_path: Path) -> None:
    # The last norm's eps is 1e-6 in the authors' code; Hugging Face's default is 1e-12.
    config: Any = ConvNextConfig(
        hidden_sizes=[8, 12], depths=[1, 2], num_stages=2, layer_norm_eps=1e-6, layer_scale_init_value=1.0
    )
    config.num_labels = 5
    description = describe("convnext", drop_path=0.0, **SMALL)
    check_huggingface(
        calibrated(ConvNextForImageClassification(config), description),
        description,
        tmp_path,
        inputs={"input": "pixel_values"},
        outputs=lambda result: {"logits": result.logits},
    )
