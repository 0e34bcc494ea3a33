"""The blocks of `architecture.blocks.positions` on TensorFlow."""

import math

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.positions import (
    ClassToken,
    FixedPositions,
    LearnedPositions,
    RelativeBias,
    Rope,
    SinusoidalPositions,
)
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, size_of


def positions(block: TensorflowBlock, x: tf.Tensor, context: Context) -> tf.Tensor:
    """Return [time] int32 positions of the frames of `x`, which go on from step to step."""
    time = size_of(x, 1)
    if context.state is None:
        return tf.range(time)
    before = block.carried(context, "position")
    block.carry(context, "position", before + tf.cast(time, before.dtype))
    return tf.range(time) + tf.cast(before, tf.int32)


@builds(LearnedPositions, FixedPositions)
class AddedPositions(TensorflowBlock):
    """x + table[position]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the sum."""
        return x + tf.gather(tf.convert_to_tensor(self.own["weight"]), positions(self, x, context) + self.block.offset)


@builds(SinusoidalPositions)
class AddedWaves(TensorflowBlock):
    """scale * x + waves."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the sum."""
        half, block = x.shape[-1] // 2, self.block
        steps = tf.range(half, dtype=tf.float32)
        rates = tf.exp(steps * (-math.log(block.base) / (half if block.exclusive else half - 1)))
        angles = tf.cast(positions(self, x, context), tf.float32)[:, None] * rates
        pair = [tf.sin(angles), tf.cos(angles)]
        waves = tf.reshape(tf.stack(pair, -1), [-1, 2 * half]) if block.interleaved else tf.concat(pair, -1)
        return x * block.scale + tf.cast(waves, x.dtype)


@builds(ClassToken)
class Prepended(TensorflowBlock):
    """Learned frames before the others."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return [batch, count + time, features]."""
        if context.lengths is not None:
            context.lengths = context.lengths + self.block.count
        if context.mask is not None:
            context.mask = tf.pad(tf.cast(context.mask, tf.bool), [[0, 0], [self.block.count, 0]], constant_values=True)
        weight = tf.convert_to_tensor(self.own["weight"])[None]
        return tf.concat([tf.repeat(weight, size_of(x, 0), 0), x], 1)


@builds(RelativeBias)
class DistanceBias(TensorflowBlock):
    """Keeps [1, heads, queries, keys]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return `x`."""
        keys = queries = tf.range(size_of(x, 1))
        if context.state is not None:
            past = self.carried(context, "past")
            queries = queries + size_of(past, 0)
            keys = tf.concat([tf.cast(past, tf.int32), queries], 0)
            self.carry(context, "past", tf.cast(keys, past.dtype))
        buckets = self._bucket(keys[None, :] - queries[:, None])
        bias = tf.gather(tf.convert_to_tensor(self.own["weight"]), buckets)
        context.values[self.block.value] = tf.transpose(bias, [2, 0, 1])[None]
        return x

    def _bucket(self, distance: tf.Tensor) -> tf.Tensor:
        block = self.block
        half = block.buckets // 2 if block.bidirectional else block.buckets
        later = tf.cast(distance > 0, tf.int32) * half if block.bidirectional else tf.zeros_like(distance)
        away = tf.abs(distance) if block.bidirectional else tf.maximum(-distance, 0)
        exact = half // 2
        share = tf.math.log(tf.cast(tf.maximum(away, 1), tf.float32) / exact) / math.log(block.max_distance / exact)
        far = tf.minimum(exact + tf.cast(share * (half - exact), tf.int32), half - 1)
        return later + tf.where(away < exact, away, far)


def rotation(rope: Rope, dim: int, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return cosines and sines [time, dim] of the angles at `places`."""
    rates = _slowed(rope, rope.theta ** (-tf.range(0, dim, 2, dtype=tf.float32) / dim))
    angles = tf.cast(places, tf.float32)[:, None] * rates
    angles = tf.concat([angles, angles], -1)
    return tf.cos(angles), tf.sin(angles)


def _slowed(rope: Rope, rates: tf.Tensor) -> tf.Tensor:
    if rope.factor == 1:
        return rates
    turns = rope.original_length * rates / (2 * math.pi)
    low, high = rope.low_freq_factor, rope.high_freq_factor
    share = tf.clip_by_value((turns - low) / (high - low), 0.0, 1.0)
    return rates * (share + (1 - share) / rope.factor)


def rotate(x: tf.Tensor, cosines: tf.Tensor, sines: tf.Tensor) -> tf.Tensor:
    """Return [..., time, dim] with its halves turned against each other."""
    first, second = tf.split(x, 2, -1)
    return x * cosines + tf.concat([-second, first], -1) * sines
