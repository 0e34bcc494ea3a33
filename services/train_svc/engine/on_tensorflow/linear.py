"""The blocks of `architecture.blocks.linear` on TensorFlow."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.linear import Embedding, Linear, TiedEmbedding, TiedLinear
from services.train_svc.engine.architecture.node import Node
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import Builder, TensorflowBlock, builds, size_of


def product(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Return x W^T over the last axis, as one matrix product."""
    rows = tf.reshape(x, [-1, x.shape[-1]])
    result = tf.matmul(rows, weight, transpose_b=True)
    return tf.reshape(result, [*(size_of(x, axis) for axis in range(len(x.shape) - 1)), weight.shape[0]])


@builds(Linear)
class Dense(TensorflowBlock):
    """x W^T + b."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return [..., out_features]."""
        result = product(x, self.own["weight"])
        return result + self.own["bias"] if self.block.bias else result


@builds(Embedding)
class LookUp(TensorflowBlock):
    """Vectors of token ids."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the vectors, added to `x` where another value is looked up."""
        weight = tf.convert_to_tensor(self.own["weight"])
        if not self.block.input:
            return tf.gather(weight, x) * self.block.scale
        ids = context.values.get(self.block.input)
        vectors = weight[0] if ids is None else tf.gather(weight, ids)
        return x + vectors * self.block.scale


class Tied(TensorflowBlock):
    """Uses the matrix of another block."""

    def __init__(self, node: Node, builder: Builder) -> None:
        super().__init__(node, builder)
        # Behind a function, so that Keras does not count the other's variables as this one's too.
        other = builder.layers[self.block.of]
        self.matrix: Callable[[], Any] = lambda: tf.convert_to_tensor(other.own["weight"])


@builds(TiedLinear)
class TiedProjection(Tied):
    """x E^T + b."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return one score a token of the vocabulary."""
        result = product(x * self.block.scale, self.matrix())
        return result + self.own["bias"] if self.block.bias else result


@builds(TiedEmbedding)
class TiedLookUp(Tied):
    """Vectors of token ids."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the vectors."""
        return tf.gather(self.matrix(), x) * self.block.scale
