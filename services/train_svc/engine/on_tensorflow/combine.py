"""The blocks of `architecture.blocks.combine` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.combine import (
    Concat,
    Load,
    Part,
    Product,
    Repeat,
    Residual,
    Save,
    Sequential,
)
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds


@builds(Sequential, Repeat)
class Row(TensorflowBlock):
    """One after the other."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the last one's output."""
        return self.run_all(x, context)


@builds(Residual)
class Sum(TensorflowBlock):
    """scale * body(x) + shortcut(x)."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the sum of both branches."""
        body = self.run("body", x, context)
        kept = self.run("shortcut", x, context) if self.block.shortcut else x
        return kept + (body if self.block.scale == 1 else body * self.block.scale)


@builds(Product)
class Gated(TensorflowBlock):
    """body(x) * gate(x)."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the product of both branches."""
        return self.run("body", x, context) * self.run("gate", x, context)


@builds(Concat)
class Joined(TensorflowBlock):
    """The branches side by side."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return them along the channels or features."""
        return tf.concat([child.call(x, context) for child in self.inner.values()], -1)


@builds(Part)
class Division(TensorflowBlock):
    """A part with its own input and padding."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the part's output, kept under its name."""
        return context.leave(self.block, self.run_all(context.enter(self.block, x), context))


@builds(Save)
class Keep(TensorflowBlock):
    """Keeps what flows through it."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return `x`."""
        context.keep(self.block.value, x)
        return x


@builds(Load)
class Switch(TensorflowBlock):
    """Goes on with another value."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the named value."""
        return context.go_on_with(self.block.value)
