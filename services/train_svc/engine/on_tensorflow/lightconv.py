"""The blocks of `architecture.blocks.lightconv` on TensorFlow."""

from functools import reduce

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.lightconv import DynamicConv, LightweightConv
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, size_of
from services.train_svc.engine.on_tensorflow.chance import dropout
from services.train_svc.engine.on_tensorflow.convolution import widened


@builds(LightweightConv)
class FixedKernels(TensorflowBlock):
    """[batch, time, features] to the same."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the convolution."""
        kernels = _normalised(self, tf.convert_to_tensor(self.own["weight"]), context)
        kernels = tf.transpose(tf.repeat(kernels, x.shape[-1] // self.block.heads, 0))
        # A picture of one column, with one kernel for each feature.
        columns = widened(self, x, context)[:, :, None]
        return tf.nn.depthwise_conv2d(columns, kernels[:, None, :, None], [1, 1, 1, 1], "VALID")[:, :, 0]


@builds(DynamicConv)
class PredictedKernels(TensorflowBlock):
    """[batch, time, features] to the same."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the convolution."""
        time, heads, shape = size_of(x, 1), self.block.heads, [size_of(x, 0), size_of(x, 1), x.shape[-1]]
        kernels = _normalised(self, _split(self.run("kernels", x, context), heads), context)
        x = _split(widened(self, x, context), heads)
        size = self.block.kernel_size
        taps = (x[:, tap : tap + time] * kernels[..., tap : tap + 1] for tap in range(size))
        return tf.reshape(reduce(tf.add, taps), shape)


def _split(x: tf.Tensor, heads: int) -> tf.Tensor:
    return tf.reshape(x, [size_of(x, 0), size_of(x, 1), heads, x.shape[-1] // heads])


def _normalised(layer: TensorflowBlock, weights: tf.Tensor, context: Context) -> tf.Tensor:
    weights, rate = tf.nn.softmax(weights), layer.block.weight_dropout
    return dropout(weights, rate, context) if rate and context.training else weights
