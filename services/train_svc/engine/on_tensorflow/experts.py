"""The blocks of `architecture.blocks.experts` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.experts import MixtureOfExperts
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds


@builds(MixtureOfExperts)
class Experts(TensorflowBlock):
    """[batch, time, features] to the same; every expert computes every token, and the others' share is 0."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the chosen experts' weighted sum."""
        scores = self.run("router", x, context)
        if self.block.value:
            before = context.values.get(self.block.value)
            context.keep(self.block.value, scores if before is None else tf.concat([before, scores], -1))
        shares, chosen = tf.math.top_k(tf.nn.softmax(tf.cast(scores, tf.float32)), self.block.top_k)
        shares = shares / tf.reduce_sum(shares, -1, keepdims=True)
        weights = tf.reduce_sum(tf.one_hot(chosen, self.block.experts) * shares[..., None], -2)
        gate, up, down = (tf.convert_to_tensor(self.own[name]) for name in ("gate", "up", "down"))
        inner = tf.nn.silu(tf.einsum("btd,efd->betf", x, gate)) * tf.einsum("btd,efd->betf", x, up)
        return tf.einsum("betf,edf,bte->btd", inner, down, tf.cast(weights, x.dtype))
