"""Update rules as pure functions of weights, gradient and slots, as torch and `on_torch.optimizer` compute them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from services.train_svc.engine.spec import OptimizerSpec

EPS_SQUARE, EPS_SCALE, LARGEST_RMS, DECAY = 1e-30, 1e-3, 1.0, -0.8
"""Adafactor's epsilon 1 and 2, d, and the exponent of beta 2."""
Slots = dict[str, Any]
"""By torch's names, without `step`."""


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What a rule is told."""

    spec: OptimizerSpec
    """Its settings."""
    rate: tf.Tensor
    """Learning rate []."""
    step: tf.Tensor
    """Steps made, with this one, float32 []."""
    decay: float
    """Weight decay of this variable."""
    axes: tuple[int, int] | None
    """Axes between which second moments are split."""


Rule = Callable[[tf.Tensor, tf.Tensor, Slots, Moved], tuple[tf.Tensor, Slots]]


def adamw(weight: tf.Tensor, gradient: tf.Tensor, slots: Slots, at: Moved) -> tuple[tf.Tensor, Slots]:
    """Return weights and slots after a step (arXiv 1711.05101); Keras places epsilon elsewhere and drifts from it."""
    beta1, beta2 = at.spec.betas
    first = beta1 * slots["exp_avg"] + (1 - beta1) * gradient
    second = beta2 * slots["exp_avg_sq"] + (1 - beta2) * tf.square(gradient)
    root = tf.sqrt(second) / tf.sqrt(_seen(beta2, at.step)) + at.spec.eps
    moved = weight * (1 - at.rate * at.decay) - at.rate / _seen(beta1, at.step) * first / root
    return moved, {"exp_avg": first, "exp_avg_sq": second}


def _seen(beta: float, step: tf.Tensor) -> tf.Tensor:
    # 1 - beta^step; in float32 the plain form has no more than four digits at the start.
    return -tf.math.expm1(step * math.log(beta)) if beta else tf.ones_like(step)


def sgd(weight: tf.Tensor, gradient: tf.Tensor, slots: Slots, at: Moved) -> tuple[tf.Tensor, Slots]:
    """Return weights and slots after a step with Nesterov momentum; decay is part of the gradient, as in torch's."""
    gradient = gradient + at.decay * weight
    if not at.spec.momentum:
        return weight - at.rate * gradient, {}
    buffer = at.spec.momentum * slots["momentum_buffer"] + gradient
    return weight - at.rate * (gradient + at.spec.momentum * buffer), {"momentum_buffer": buffer}


def lion(weight: tf.Tensor, gradient: tf.Tensor, slots: Slots, at: Moved) -> tuple[tf.Tensor, Slots]:
    """Return weights and slots after a step (arXiv 2302.06675); see `on_torch.optimizer.lion`."""
    beta1, beta2 = at.spec.betas
    moment = slots["exp_avg"]
    update = tf.sign(moment + (1 - beta1) * (gradient - moment))
    return weight * (1 - at.rate * at.decay) - at.rate * update, {"exp_avg": moment + (1 - beta2) * (gradient - moment)}


def adafactor(weight: tf.Tensor, gradient: tf.Tensor, slots: Slots, at: Moved) -> tuple[tf.Tensor, Slots]:
    """Return weights and slots after a step (arXiv 1804.04235); see `on_torch.optimizer.adafactor`."""
    square, fresh = tf.square(gradient) + EPS_SQUARE, tf.pow(at.step, DECAY)
    moments, root = _variance(square, slots, fresh) if at.axes is None else _factors(square, slots, fresh, at.axes)
    update = gradient * root
    update = update / tf.maximum(_rms(update) / LARGEST_RMS, 1.0)
    size = tf.maximum(_rms(weight), EPS_SCALE) * tf.minimum(at.rate, tf.math.rsqrt(at.step))
    return weight * (1 - at.rate * at.decay) - size * update, moments


def _variance(square: tf.Tensor, slots: Slots, fresh: tf.Tensor) -> tuple[Slots, tf.Tensor]:
    variance = slots["variance"] + fresh * (square - slots["variance"])
    return {"variance": variance}, tf.math.rsqrt(variance)


def _factors(square: tf.Tensor, slots: Slots, fresh: tf.Tensor, axes: tuple[int, int]) -> tuple[Slots, tf.Tensor]:
    row, column = slots["row_var"], slots["col_var"]
    row = row + fresh * (tf.reduce_mean(square, axes[1], keepdims=True) - row)
    column = column + fresh * (tf.reduce_mean(square, axes[0], keepdims=True) - column)
    share = row / tf.reduce_mean(row, axes[0], keepdims=True)
    return {"row_var": row, "col_var": column}, tf.math.rsqrt(share) * tf.math.rsqrt(column)


def _rms(x: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.reduce_mean(tf.square(x)))


RULES: dict[str, Rule] = {"adamw": adamw, "sgd": sgd, "lion": lion, "adafactor": adafactor}
