"""Random numbers inside a TensorFlow model: of the run's seed where one is given, so that a step can be made again."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from services.train_svc.engine.context import Context


def dropout(x: tf.Tensor, rate: float, context: Context, noise_shape: Sequence[Any] | None = None) -> tf.Tensor:
    """Return `x` with a share `rate` zeroed and the rest enlarged to make up for it.

    Args:
        x: of any shape.
        rate: share of zeros, 0 to below 1.
        context: its `seed` decides which; without one TensorFlow's own generator does.
        noise_shape: sizes of the mask, 1 where one number is drawn for a whole axis.
    """
    if context.seed is None:
        return tf.nn.dropout(x, rate, noise_shape=noise_shape)
    seed = context.draw(_fold)
    return tf.nn.experimental.stateless_dropout(x, rate, seed, noise_shape=noise_shape, rng_alg="philox")


def uniform(shape: Any, context: Context, minval: float = 0.0, dtype: Any = tf.float32) -> tf.Tensor:  # noqa: ANN401
    """Return numbers from `minval` to below 1."""
    if context.seed is None:
        return tf.random.uniform(shape, minval=minval, dtype=dtype)
    return tf.random.stateless_uniform(shape, context.draw(_fold), minval=minval, dtype=dtype, alg="philox")


def at_frame(context: Context, index: tf.Tensor) -> tf.Tensor | None:
    """Return the seed of one frame of a loop, or None where the run has none."""
    return None if context.seed is None else _fold(context.draw(_fold), index)


def _fold(seed: tf.Tensor, number: Any) -> tf.Tensor:  # noqa: ANN401 - an int or a tensor
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, seed.dtype), alg="philox")
