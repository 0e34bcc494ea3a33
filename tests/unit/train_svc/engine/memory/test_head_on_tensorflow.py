"""The loss of a vocabulary in chunks on TensorFlow: what torch's plain one gives."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from services.train_svc.engine.memory import labelled_places

IGNORED = -100


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [7, 1000])
@pytest.mark.parametrize("graph", [False, True])
def test_loss_and_gradients_are_those_of_torchs_plain_loss(chunk: int, smoothing: float, graph: bool) -> None:
    import tensorflow as tf

    from services.train_svc.engine.on_tensorflow.head import linear_cross_entropy

    chance = np.random.default_rng(0)
    arrays = [chance.standard_normal(shape).astype(np.float32) for shape in ((2, 20, 8), (30, 8), (30,))]
    labels = np.where(chance.random((2, 20)) < 0.6, IGNORED, chance.integers(0, 30, (2, 20)))
    places = labelled_places(labels, IGNORED, multiple=8)
    tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
    scores = functional.linear(*tensors).flatten(0, 1)
    wanted = functional.cross_entropy(
        scores, torch.from_numpy(labels).flatten(), reduction="sum", ignore_index=IGNORED, label_smoothing=smoothing
    )
    expected = torch.autograd.grad(wanted * 3.7, tensors)
    hidden, weight, bias = given = [tf.Variable(array) for array in arrays]

    def step() -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            loss = linear_cross_entropy(
                hidden, weight, bias, tf.constant(labels), places=places, label_smoothing=smoothing, chunk=chunk
            )
            scaled = loss * 3.7
        return loss, tape.gradient(scaled, given)

    loss, found = (tf.function(step) if graph else step)()
    np.testing.assert_allclose(loss, wanted.detach(), rtol=1e-5)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5 * max(1.0, float(other.abs().max())))
