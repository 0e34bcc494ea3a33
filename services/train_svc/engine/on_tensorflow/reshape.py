"""The blocks of `architecture.blocks.reshape` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.reshape import (
    Flatten,
    GlobalAvgPool,
    MaxPool2d,
    MeanPool,
    Select,
    ToSequence,
)
from services.train_svc.engine.architecture.node import PICTURE_AXES
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, key_mask, size_of


@builds(MaxPool2d)
class LargestPixels(TensorflowBlock):
    """The largest value of each window."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the smaller picture."""
        block, pad = self.block, self.block.padding
        if pad:
            x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]], constant_values=x.dtype.min)
        return tf.nn.max_pool2d(x, block.kernel_size, block.stride, "VALID")


@builds(GlobalAvgPool)
class PictureMean(TensorflowBlock):
    """[N, H, W, C] to [N, C]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the mean of each channel."""
        return tf.reduce_mean(x, [1, 2], keepdims=self.block.keep_axes)


@builds(MeanPool)
class TimeMean(TensorflowBlock):
    """[N, T, F] to [N, F]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the mean over the frames that are real."""
        mask = key_mask(context, size_of(x, 1))
        context.lengths = context.mask = None
        if mask is None:
            return tf.reduce_mean(x, 1)
        weights = tf.cast(mask, x.dtype)[:, :, None]
        return tf.reduce_sum(x * weights, 1) / tf.reduce_sum(weights, 1)


@builds(Flatten)
class EndToEnd(TensorflowBlock):
    """All values of a sample in the canonical order."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return [N, all]."""
        x = tf.transpose(x, [0, 3, 1, 2]) if len(x.shape) == PICTURE_AXES + 1 else x
        return tf.reshape(x, [size_of(x, 0), self.node.output_shape[0]])


@builds(ToSequence)
class Rows(TensorflowBlock):
    """[N, H, W, C] to [N, H W, C]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the pixels, row by row."""
        return tf.reshape(x, [size_of(x, 0), size_of(x, 1) * size_of(x, 2), x.shape[3]])


@builds(Select)
class Frame(TensorflowBlock):
    """[N, T, F] to [N, F]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return one frame."""
        return x[:, self.block.index]
