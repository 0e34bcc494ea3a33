"""The blocks of `architecture.blocks.pixels` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.pixels import Pixels, Resize, SpaceToDepth
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, size_of


@builds(Pixels)
class EachPixel(TensorflowBlock):
    """[N, H, W, C] to [N, H, W, C']."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the body's output as a picture."""
        batch, height, width = (size_of(x, axis) for axis in range(3))
        x = self.run_all(tf.reshape(x, [batch, height * width, x.shape[3]]), context)
        return tf.reshape(x, [batch, height, width, x.shape[2]])


@builds(Resize)
class Interpolated(TensorflowBlock):
    """[N, H, W, C] to [N, H', W', C]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the picture at its new size."""
        block = self.block
        model, factor = (context.values[block.like], 1) if block.like else (x, block.factor)
        size = [size_of(model, 1) * factor, size_of(model, 2) * factor]
        # It gives float32 whatever it gets.
        return tf.cast(tf.image.resize(x, size, "bilinear"), x.dtype)


@builds(SpaceToDepth)
class Squares(TensorflowBlock):
    """[N, H, W, C] to [N, H', W', factor^2 C]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the smaller picture."""
        factor, channels = self.block.factor, x.shape[3]
        x = filled(x, factor)
        batch, height, width = size_of(x, 0), size_of(x, 1) // factor, size_of(x, 2) // factor
        squares = tf.reshape(x, [batch, height, factor, width, factor, channels])
        moved = tf.transpose(squares, [0, 1, 3, 4, 2, 5])
        return tf.reshape(moved, [batch, height, width, factor**2 * channels])


def filled(x: tf.Tensor, side: int) -> tf.Tensor:
    """Return [N, H, W, C] with zeros at the bottom and on the right, so that squares of `side` pixels fill it."""
    bottom, right = -size_of(x, 1) % side, -size_of(x, 2) % side
    return tf.pad(x, [[0, 0], [0, bottom], [0, right], [0, 0]])
