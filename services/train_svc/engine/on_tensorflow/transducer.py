"""The blocks of `architecture.blocks.transducer` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.transducer import Joiner, StartToken
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds

ACTIVATIONS = {"relu": tf.nn.relu, "tanh": tf.tanh}


@builds(StartToken)
class Started(TensorflowBlock):
    """The token, then the others."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return [batch, 1 + time]; in a loop `x`."""
        if context.state is not None:
            return x
        if context.lengths is not None:
            context.lengths = context.lengths + 1
        if context.mask is not None:
            context.mask = tf.pad(tf.cast(context.mask, tf.bool), [[0, 0], [1, 0]], constant_values=True)
        return tf.pad(x, [[0, 0], [1, 0]], constant_values=self.block.token)


@builds(Joiner)
class Pairs(TensorflowBlock):
    """Every frame with every label."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return [batch, frames, labels, vocab_size]."""
        pairs = x[:, :, None] + context.values[self.block.labels][:, None]
        return self.run("linear", ACTIVATIONS[self.block.activation](pairs), context)
