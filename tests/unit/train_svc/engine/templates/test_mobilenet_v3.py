import re
from pathlib import Path
from typing import Any

import keras
import pytest
import torch

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.samples import sample_inputs
from services.train_svc.engine.templates import describe
from tests.unit.train_svc.engine.parity import check_outputs, check_parity, close, on_torch
from tests.unit.train_svc.engine.templates.calibration import calibrated_pair

NAMES = (
    ("conv", "stem.conv"),
    ("conv_bn", "stem.conv_norm"),
    (r"expanded_conv_(?:(\d+)_)?squeeze_excite_conv", r"blocks.block\1.body.squeeze.gate.reduce"),
    (r"expanded_conv_(?:(\d+)_)?squeeze_excite_conv_1", r"blocks.block\1.body.squeeze.gate.expand"),
    (r"expanded_conv_(?:(\d+)_)?(expand|depthwise|project)", r"blocks.block\1.body.\2"),
    (r"expanded_conv_(?:(\d+)_)?(expand|depthwise|project)_bn", r"blocks.block\1.body.\2_norm"),
    ("conv_1", "top.conv"),
    ("conv_1_bn", "top.conv_norm"),
    ("conv_2", "hidden"),
    ("logits", "classifier"),
)
"""Keras's layers and ours; its first block has no number."""
PARTS = {"kernel": "weight", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
         "moving_variance": "running_var"}  # fmt: skip

PICTURES = 4


def small(side: int, padding: str = "same") -> Description:
    return describe("mobilenet_v3", size="small", width_coefficient=0.25, num_classes=5, image_height=side,
                    image_width=side, padding=padding, dropout=0.0)  # fmt: skip


def fill(published: Any, tensors: dict[str, torch.Tensor]) -> int:
    """Give a Keras model our weights, and return how many numbers it trains."""
    for layer in published.layers:
        for variable in layer.weights:
            pattern, name = next(each for each in NAMES if re.fullmatch(each[0], layer.name))
            ours = re.sub(pattern, name, layer.name).replace("block.", "block0.")
            value = tensors[f"{ours}.{PARTS.get(variable.name, variable.name)}"].numpy()
            if value.ndim > 1:
                # Keras's last layers are 1x1 convolutions where ours are linear: [out, in] to [out, in, 1, 1].
                kernel = value if value.ndim == PICTURES else value[..., None, None]
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                value = kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0)
            variable.assign(value)
    return sum(variable.numpy().size for variable in published.trainable_weights)


@pytest.mark.parametrize(("size", "count"), [("large", 5_483_032), ("small", 2_542_856)])
def test_published_parameter_counts(size: str, count: int) -> None:
    assert describe("mobilenet_v3", size=size).root.parameter_count == count


@pytest.mark.parametrize(("size", "cost"), [("large", 219e6), ("small", 56e6)])
def test_the_papers_costs(size: str, cost: float) -> None:
    assert describe("mobilenet_v3", size=size).root.total_multiply_adds == pytest.approx(cost, rel=0.02)


def test_both_engines_agree(tmp_path: Path) -> None:
    check_parity(small(96), tmp_path)


@pytest.mark.parametrize("padding", ["same", "half"])
def test_both_engines_pad_alike(padding: str, tmp_path: Path) -> None:
    description = small(64, padding)
    check_outputs(*calibrated_pair(description, tmp_path), sample_inputs(description))


# 72 pixels become 9, 5 and 3, which `SAME` pads otherwise than the even sides that 64 become.
@pytest.mark.parametrize("size", ["large", "small"])
def test_keras_gives_the_same_outputs_with_our_weights(size: str, tmp_path: Path) -> None:
    kind = {"large": keras.applications.MobileNetV3Large, "small": keras.applications.MobileNetV3Small}[size]
    published = kind(input_shape=(72, 64, 3), weights=None, classes=7, classifier_activation=None,
                     include_preprocessing=False)  # fmt: skip
    description = describe("mobilenet_v3", size=size, image_height=72, image_width=64, num_classes=7, dropout=0.0)
    model, other = calibrated_pair(description, tmp_path)
    assert fill(published, model.state_dict()) == description.root.parameter_count
    inputs = sample_inputs(description)
    wanted = published(inputs["input"].transpose(0, 2, 3, 1), training=False)
    with torch.no_grad():
        close(model(**on_torch(inputs)), wanted, "torch's logits")
    close(other(inputs), wanted, "TensorFlow's logits")
