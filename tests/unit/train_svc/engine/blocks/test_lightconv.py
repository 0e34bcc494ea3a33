from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description, Input
from services.train_svc.engine.architecture.blocks.combine import Part
from services.train_svc.engine.architecture.blocks.lightconv import DynamicConv, LightweightConv, SharedKernel
from services.train_svc.engine.building import build
from services.train_svc.engine.samples import sample_inputs
from tests.unit.train_svc.engine.decoding import check_decoding
from tests.unit.train_svc.engine.parity import check_parity, close, on_torch, pair

HEADS, FEATURES = 3, 6
KINDS = [LightweightConv, DynamicConv]
FORMS: list[dict[str, Any]] = [{"kernel_size": 5}, {"kernel_size": 4}, {"kernel_size": 4, "causal": True}]


def described(kind: type[SharedKernel], **options: Any) -> Description:
    mask = {} if options.get("causal") else {"mask": Input(shape=("time",), dtype="bool", optional=True)}
    block = kind(heads=HEADS, name="convolution", **options)
    return Description(
        name="filter",
        inputs={"frames": Input(shape=("time", FEATURES))} | mask,
        typical={"time": 9},
        body=(Part(name="part", input="frames", mask=next(iter(mask), ""), body=(block,)),),
    )


def by_the_formula(x: Any, scores: Any, size: int, left: int) -> Any:
    """Return the paper's sums; `scores` [batch, time, heads, kernel_size] before the softmax."""
    batch, time, features = x.shape
    result = np.zeros_like(x)
    for b, i, c in np.ndindex(batch, time, features):
        head = c * HEADS // features
        weights = np.exp(scores[b, i, head]) / np.exp(scores[b, i, head]).sum()
        for j in range(size):
            place = i + j - left
            result[b, i, c] += weights[j] * x[b, place, c] if 0 <= place < time else 0.0
    return result


@pytest.mark.parametrize("options", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_papers_formula_with_padding_as_zeros(
    kind: type[SharedKernel], options: dict[str, Any], tmp_path: Path
) -> None:
    model, other = pair(described(kind, **options), tmp_path, spread=0.5)
    inputs = sample_inputs(model.description, seed=1)
    real: Any = inputs.get("mask", np.ones((2, 9), np.float32))[:, :, None]
    x = inputs["frames"] * real
    size, weights = options["kernel_size"], dict(model.state_dict())
    (matrix,) = (tensor.numpy() for tensor in weights.values())
    scores = matrix if kind is LightweightConv else (x @ matrix.T).reshape(2, 9, HEADS, size)
    left = size - 1 if options.get("causal") else (size - 1) // 2
    wanted = by_the_formula(x, np.broadcast_to(scores, (2, 9, HEADS, size)), size, left) * real
    close(model.eval()(**on_torch(inputs)).detach().numpy() * real, wanted, "torch")
    close(np.asarray(other(inputs)) * real, wanted, "TensorFlow")


@pytest.mark.parametrize("options", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_agree(kind: type[SharedKernel], options: dict[str, Any], tmp_path: Path) -> None:
    check_parity(described(kind, **options), tmp_path, time=7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_one_runs_step_by_step(kind: type[SharedKernel], tmp_path: Path) -> None:
    check_decoding(described(kind, kernel_size=4, causal=True), tmp_path, time=10)


@pytest.mark.parametrize("kind", KINDS)
def test_drop_connect_drops_taps_and_scales_the_others_while_training_alone(
    kind: type[SharedKernel], tmp_path: Path
) -> None:
    model, other = pair(described(kind, kernel_size=4, weight_dropout=0.5), tmp_path)
    frames = np.ones((1, 9, FEATURES), np.float32)
    taps = next(iter(model.state_dict().values())).numpy()
    taps = (taps if kind is LightweightConv else taps.sum(1)).reshape(HEADS, 4)
    taps = np.exp(taps) / np.exp(taps).sum(1, keepdims=True)
    kept = np.array(list(np.ndindex(2, 2, 2, 2)))
    possible = 2 * (taps[:, None] * kept).sum(-1)
    torch.manual_seed(0)
    tf.random.set_seed(0)
    for trained in (model.train()(torch.from_numpy(frames)).detach().numpy(), np.asarray(other(frames, training=True))):
        for head in range(HEADS):
            inner = trained[0, 1:7, head * 2]
            assert np.abs(inner[:, None] - possible[head]).min(1).max() < 1e-5
        assert np.abs(trained[0, 1:7] - 1).max() > 0.1
    close(model.eval()(torch.from_numpy(frames)).detach()[0, 1:7], np.ones((6, FEATURES)), "torch, evaluated")
    close(other(frames)[0, 1:7], np.ones((6, FEATURES)), "TensorFlow, evaluated")


def test_heads_that_do_not_divide_the_features_are_refused() -> None:
    with pytest.raises(InvalidError, match="heads: 3 heads do not divide 8 features"):
        build(Description(name="x", inputs={"x": Input(shape=("time", 8))}, body=(LightweightConv(heads=3),)))
