"""The blocks of `architecture.blocks.pretraining` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.pretraining import MaskedFrames, ProductQuantizer
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, size_of
from services.train_svc.engine.on_tensorflow.chance import uniform


@builds(MaskedFrames)
class HiddenFrames(TensorflowBlock):
    """One vector in the place of what is hidden."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape."""
        hidden = context.values.get(self.block.input)
        return x if hidden is None else tf.where(tf.cast(hidden, tf.bool)[:, :, None], self.own["weight"], x)


@builds(ProductQuantizer)
class Quantized(TensorflowBlock):
    """[batch, time, features] to entries of codebooks, side by side."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return [batch, time, groups * dim]."""
        block, batch, time = self.block, size_of(x, 0), size_of(x, 1)
        scores = tf.reshape(self.run("scores", x, context), [batch, time, block.groups, block.entries])
        if block.probabilities:
            count = block.groups * block.entries
            context.keep(block.probabilities, tf.reshape(tf.nn.softmax(scores), [batch, time, count]))
        books = tf.reshape(tf.convert_to_tensor(self.own["weight"]), [block.groups, block.entries, -1])
        chosen = tf.einsum("btge,ged->btgd", self._choice(scores, context), books)
        return tf.reshape(chosen, [batch, time, block.features])

    def _choice(self, scores: tf.Tensor, context: Context) -> tf.Tensor:
        entries = self.block.entries
        if not context.training:
            return tf.one_hot(tf.argmax(scores, -1), entries, dtype=scores.dtype)
        if self.block.noise:
            drawn = uniform(tf.shape(scores), context, minval=1e-20, dtype=scores.dtype)
            scores = scores - tf.math.log(-tf.math.log(drawn)) * self.block.noise
        soft = tf.nn.softmax(scores / self.block.temperature)
        return tf.stop_gradient(tf.one_hot(tf.argmax(soft, -1), entries, dtype=soft.dtype) - soft) + soft
