"""The blocks of `architecture.blocks.columns` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.columns import CategoryTokens, NumberTokens
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds


@builds(NumberTokens)
class ScaledVectors(TensorflowBlock):
    """x_j W_j + b_j."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return [batch, columns, features]."""
        return x[:, :, None] * self.own["weight"] + self.own["bias"]


@builds(CategoryTokens)
class ColumnVectors(TensorflowBlock):
    """Vectors of categories, and of their columns."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return [batch, columns, features], after `x` where another value is looked up."""
        ids = context.values[self.block.input] if self.block.input else x
        rows = ids + tf.constant(self.block.starts, ids.dtype)
        vectors = tf.gather(tf.convert_to_tensor(self.own["weight"]), rows) + self.own["bias"]
        return tf.concat([x, vectors], 1) if self.block.input else vectors
