"""The blocks of `architecture.blocks.normalization` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.normalization import (
    BatchNorm,
    Dropout,
    DropPath,
    GroupNorm,
    LayerNorm,
    LayerScale,
    RmsNorm,
)
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, size_of
from services.train_svc.engine.on_tensorflow.chance import dropout


@builds(BatchNorm)
class ChannelNorm(TensorflowBlock):
    """Normalisation over all axes but the last."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape; while training, move the running averages."""
        own, eps = self.own, self.block.eps
        mean, variance = own["running_mean"], own["running_var"]
        if context.training:
            mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
            self._move(mean, variance, tf.size(x) / x.shape[-1])
        return tf.nn.batch_normalization(x, mean, variance, own["bias"], own["weight"], eps)

    def _move(self, mean: tf.Tensor, variance: tf.Tensor, count: tf.Tensor) -> None:
        own, momentum = self.own, self.block.momentum
        # As torch has it: the running variance is the unbiased one.
        count = tf.cast(count, variance.dtype)
        unbiased = variance * count / (count - 1)
        own["running_mean"].assign(own["running_mean"] * (1 - momentum) + mean * momentum)
        own["running_var"].assign(own["running_var"] * (1 - momentum) + unbiased * momentum)
        own["num_batches_tracked"].assign_add(1)


@builds(LayerNorm)
class FeatureNorm(TensorflowBlock):
    """Normalisation over the last axis."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape."""
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        bias = self.own["bias"] if self.block.bias else None
        return tf.nn.batch_normalization(x, mean, variance, bias, self.own["weight"], self.block.eps)


@builds(GroupNorm)
class ChannelGroupNorm(TensorflowBlock):
    """Normalisation over groups of the last axis, and all between it and the batch."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape."""
        wide = x.shape[-1]
        groups = self.block.groups or wide
        cut = tf.reshape(x, [size_of(x, 0), -1, groups, wide // groups])
        mean, variance = tf.nn.moments(cut, [1, 3], keepdims=True)
        whole = (cut - mean) * tf.math.rsqrt(variance + self.block.eps)
        return tf.reshape(whole, tf.shape(x)) * self.own["weight"] + self.own["bias"]


@builds(RmsNorm)
class MeanSquareNorm(TensorflowBlock):
    """x / sqrt(mean(x^2) + eps) * weight."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape."""
        square = tf.reduce_mean(tf.square(x), -1, keepdims=True)
        return x * tf.math.rsqrt(square + self.block.eps) * self.own["weight"]


@builds(LayerScale)
class ChannelScale(TensorflowBlock):
    """x * weight."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape."""
        return x * self.own["weight"]


@builds(Dropout)
class Drop(TensorflowBlock):
    """Zeroes values while training."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape."""
        drops = (context.training or self.block.always) and self.block.rate
        return dropout(x, self.block.rate, context) if drops else x


@builds(DropPath)
class StochasticDepth(TensorflowBlock):
    """Zeroes whole samples while training."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape."""
        if not context.training or not self.block.rate:
            return x
        return dropout(x, self.block.rate, context, [tf.shape(x)[0], *(1,) * (len(x.shape) - 1)])
