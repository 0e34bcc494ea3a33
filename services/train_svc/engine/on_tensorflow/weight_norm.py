"""The blocks of `architecture.blocks.weight_norm` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.weight_norm import PositionalConv1d
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds
from services.train_svc.engine.on_tensorflow.convolution import grouped, masked


@builds(PositionalConv1d)
class PositionalConvolution(TensorflowBlock):
    """[batch, time, features] to the same."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the convolution."""
        direction = tf.convert_to_tensor(self.own["weight_v"])
        weight = direction * (self.own["weight_g"] / tf.norm(direction, axis=[1, 2], keepdims=True))
        padded = tf.pad(masked(x, context), [[0, 0], list(self.block.pads), [0, 0]])
        moved = grouped(padded, weight, self.block.groups, _convolve)
        return moved + self.own["bias"]


def _convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv1d(x, kernel, 1, "VALID")
