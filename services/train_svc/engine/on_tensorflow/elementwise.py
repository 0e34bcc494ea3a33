"""The blocks of `architecture.blocks.elementwise` on TensorFlow."""

from collections.abc import Callable

import tensorflow as tf

from services.train_svc.engine.architecture.block import Block
from services.train_svc.engine.architecture.blocks.elementwise import (
    Gelu,
    GeluTanh,
    Glu,
    HardSigmoid,
    HardSwish,
    LogSoftmax,
    Relu,
    Relu6,
    Scale,
    Sigmoid,
    Silu,
    Tanh,
)
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds

FUNCTIONS: dict[type[Block], Callable[[tf.Tensor], tf.Tensor]] = {
    Relu: tf.nn.relu,
    Relu6: tf.nn.relu6,
    Gelu: lambda x: tf.nn.gelu(x, approximate=False),
    GeluTanh: lambda x: tf.nn.gelu(x, approximate=True),
    Silu: tf.nn.silu,
    Sigmoid: tf.nn.sigmoid,
    Tanh: tf.nn.tanh,
    HardSwish: lambda x: x * tf.nn.relu6(x + 3) / 6,
    HardSigmoid: lambda x: tf.nn.relu6(x + 3) / 6,
    LogSoftmax: tf.nn.log_softmax,
}


@builds(*FUNCTIONS)
class Activation(TensorflowBlock):
    """A function of each value."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape."""
        return FUNCTIONS[type(self.block)](x)


@builds(Glu)
class Gate(TensorflowBlock):
    """a sigmoid(b)."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return half of the features."""
        first, second = tf.split(x, 2, -1)
        return first * tf.nn.sigmoid(second)


@builds(Scale)
class Multiplied(TensorflowBlock):
    """x * by."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape."""
        return x * self.block.by
