"""A loss measured on one engine or on both: its sum, what it is divided by, and the gradient of their quotient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from services.train_svc.engine.spec import LossSpec

Arrays = Mapping[str, np.ndarray]
ENGINES = ("torch", "tensorflow")
CLOSE = 1e-5


@dataclass(frozen=True)
class Measure:
    total: float
    weight: float
    gradients: dict[str, np.ndarray]
    """Of total / weight, by the outputs' names; 0 for outputs that the loss does not read."""

    @property
    def mean(self) -> float:
        return self.total / self.weight


def measure(
    engine: str, spec: LossSpec, outputs: Arrays, targets: Arrays, smoothing: float = 0.0, *,
    through: Callable[[Any], Any] = lambda function: function, weight: float | None = None,
) -> Measure:  # fmt: skip
    """Return what the engine makes of it; `through` may compile, `weight` is another divisor than the batch's own."""
    if engine == "torch":
        from services.train_svc.engine.on_torch.losses import build_loss

        return on_torch(build_loss(spec, label_smoothing=smoothing), outputs, targets, through, weight)
    from services.train_svc.engine.on_tensorflow.losses import build_loss as build

    return on_tensorflow(build(spec, label_smoothing=smoothing), outputs, targets, through, weight)


def on_torch(loss, outputs, targets, through, weight) -> Measure:
    given = {name: torch.from_numpy(np.array(array)) for name, array in targets.items()}
    scores = {name: torch.from_numpy(np.array(array)).requires_grad_() for name, array in outputs.items()}
    divisor, total = loss.weight(given), through(loss.total)(scores, given)
    assert total.shape == divisor.shape == ()
    assert total.dtype == divisor.dtype == torch.float32
    (total / (divisor if weight is None else weight)).backward()
    gradients = {
        name: np.zeros(each.shape) if each.grad is None else each.grad.numpy() for name, each in scores.items()
    }
    return Measure(total.item(), divisor.item(), gradients)


def on_tensorflow(loss, outputs, targets, through, weight) -> Measure:
    import tensorflow as tf

    given = {name: tf.constant(array) for name, array in targets.items()}
    scores = {name: tf.constant(array) for name, array in outputs.items()}
    with tf.GradientTape() as tape:
        tape.watch(list(scores.values()))
        divisor, total = loss.weight(given), through(loss.total)(scores, given)
        mean = total / (divisor if weight is None else weight)
    assert total.shape == divisor.shape == ()
    assert total.dtype == divisor.dtype == tf.float32
    found = tape.gradient(mean, scores, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    gradients = {name: each.numpy() for name, each in found.items()}
    return Measure(float(total), float(divisor), gradients)


def both(spec: LossSpec, outputs: Arrays, targets: Arrays, smoothing: float = 0.0) -> Measure:
    """Return torch's measure, TensorFlow's being the same."""
    first, second = (measure(engine, spec, outputs, targets, smoothing) for engine in ENGINES)
    assert_same(second, first)
    return first


def assert_same(got: Measure, wanted: Measure) -> None:
    np.testing.assert_allclose(got.total, wanted.total, rtol=CLOSE, atol=CLOSE)
    np.testing.assert_allclose(got.weight, wanted.weight, rtol=CLOSE)
    for name, gradient in wanted.gradients.items():
        np.testing.assert_allclose(got.gradients[name], gradient, rtol=CLOSE, atol=CLOSE, err_msg=name)


def slopes(function: Callable[[np.ndarray], float], at: np.ndarray, width: float = 1e-5) -> np.ndarray:
    """Return the numeric gradient of a function of float64 numbers, by central differences."""
    at = at.astype(np.float64)
    result = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        around = at.copy(), at.copy()
        around[0][place] += width
        around[1][place] -= width
        result[place] = (function(around[0]) - function(around[1])) / (2 * width)
    return result


def log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores.astype(np.float64) - scores.max(-1, keepdims=True)
    logs: np.ndarray = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return logs
