"""The blocks of `architecture.blocks.channels` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.channels import AddChannel, EachChannel, Patches, Standardized
from services.train_svc.engine.architecture.node import SEQUENCE_AXES
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, size_of


@builds(AddChannel)
class OneChannel(TensorflowBlock):
    """[batch, time] to [batch, time, 1]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same values."""
        return x[:, :, None]


@builds(EachChannel)
class Folded(TensorflowBlock):
    """[batch, time, variables] with the variables in the batch."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return what the body makes of each variable."""
        batch, time, variables = (size_of(x, axis) for axis in range(3))
        context.lengths, context.mask = (
            None if each is None else tf.repeat(each, variables, 0) for each in (context.lengths, context.mask)
        )
        y = self.run_all(tf.reshape(tf.transpose(x, [0, 2, 1]), [batch * variables, time, 1]), context)
        context.lengths = context.mask = None
        y = tf.reshape(y, [batch, variables, *(size_of(y, axis) for axis in range(1, len(y.shape)))])
        # Of three axes a sample is a picture here: the variables are its channels and stand last.
        return tf.transpose(y, [0, 2, 1] if len(y.shape) == SEQUENCE_AXES + 1 else [0, 2, 3, 1])


@builds(Standardized)
class Rescaled(TensorflowBlock):
    """[batch, time, variables] by mean and scale of each."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the body's output, in the input's scale where that is wanted."""
        mean, variance = tf.nn.moments(x, [1], keepdims=True)
        scale = tf.sqrt(variance + self.block.eps)
        y = self.run_all((x - mean) / scale, context)
        return y * scale + mean if self.block.restore else y


@builds(Patches)
class Windows(TensorflowBlock):
    """[batch, time, features] to [batch, patches, features * length]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the windows, one feature after the other in each."""
        block = self.block
        if block.pad:
            x = tf.concat([x, tf.repeat(x[:, -1:], block.pad, 1)], 1)
        x = x[:, (size_of(x, 1) - block.length) % block.stride :]
        cut = tf.signal.frame(x, block.length, block.stride, axis=1)
        cut = tf.transpose(cut, [0, 1, 3, 2])
        return tf.reshape(cut, [size_of(cut, 0), size_of(cut, 1), x.shape[2] * block.length])
