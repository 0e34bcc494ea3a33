"""The blocks of `architecture.blocks.convolution` on TensorFlow."""

from collections.abc import Callable

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.convolution import Conv1d, Conv2d, FrameConv2d, Pad2d
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, key_mask, size_of


@builds(Conv2d)
class PictureConvolution(TensorflowBlock):
    """[batch, height, width, channels] to [batch, height', width', out_channels]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the convolution."""
        block, pad = self.block, self.block.pad
        padded = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]]) if pad else x
        result = self._convolve(padded, tf.convert_to_tensor(self.own["weight"]))
        return result + self.own["bias"] if block.bias else result

    def _convolve(self, x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        block = self.block
        if self.node.parameters["weight"].layout == "depthwise2d" and block.groups == x.shape[-1]:
            # [kh, kw, out, 1]: each input has out / groups kernels, side by side.
            weight = tf.reshape(weight, [block.kernel_size, block.kernel_size, block.groups, -1])
            return tf.nn.depthwise_conv2d(x, weight, [1, block.stride, block.stride, 1], "VALID")
        return grouped(x, weight, block.groups, lambda part, kernel: tf.nn.conv2d(part, kernel, block.stride, "VALID"))


@builds(Conv1d)
class TimeConvolution(TensorflowBlock):
    """[batch, time, features] to [batch, time', out_features]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the convolution; the lengths follow its stride."""
        result = self._convolve(widened(self, x, context), tf.convert_to_tensor(self.own["weight"]))
        return result + self.own["bias"] if self.block.bias else result

    def _convolve(self, x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        block = self.block
        if block.groups == x.shape[-1] and block.groups > 1:
            # [k, 1, out] as a picture of one column, with one kernel for each feature.
            wide = tf.reshape(weight, [block.kernel_size, 1, block.groups, -1])
            return tf.nn.depthwise_conv2d(x[:, :, None], wide, [1, block.stride, block.stride, 1], "VALID")[:, :, 0]
        return grouped(x, weight, block.groups, lambda part, kernel: tf.nn.conv1d(part, kernel, block.stride, "VALID"))


@builds(FrameConv2d)
class SpectrumConvolution(TensorflowBlock):
    """[batch, time, channels * bands] to [batch, time', out_channels * bands']."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the convolution; the lengths follow its stride."""
        block, pad = self.block, self.block.pad
        x = widened(self, x, context)
        pictures = tf.reshape(x, [size_of(x, 0), size_of(x, 1), x.shape[-1] // block.bands, block.bands])
        padded = tf.pad(tf.transpose(pictures, [0, 1, 3, 2]), [[0, 0], [0, 0], [pad, pad], [0, 0]])
        result = tf.nn.conv2d(padded, tf.convert_to_tensor(self.own["weight"]), block.stride, "VALID")
        result = tf.transpose(result + self.own["bias"] if block.bias else result, [0, 1, 3, 2])
        return tf.reshape(result, [size_of(result, 0), size_of(result, 1), self.node.output_shape[1]])


def widened(layer: TensorflowBlock, x: tf.Tensor, context: Context) -> tf.Tensor:
    """Return frames with those before them, carried or zeros, for a block with `pads`; lengths follow its stride."""
    block, (left, right) = layer.block, layer.block.pads
    x = masked(x, context) if block.mask_padding else x
    context.resize(block.kernel_size, block.stride, (left, right))
    if context.state is not None and block.causal and left:
        x = tf.concat([layer.carried(context, "left"), x], 1)
        layer.carry(context, "left", x[:, size_of(x, 1) - left :])
        return x
    return tf.pad(x, [[0, 0], [left, right], [0, 0]]) if left or right else x


@builds(Pad2d)
class PicturePadding(TensorflowBlock):
    """Zeros around a picture."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the larger picture."""
        block = self.block
        return tf.pad(x, [[0, 0], [block.top, block.bottom], [block.left, block.right], [0, 0]])


def grouped(
    x: tf.Tensor, weight: tf.Tensor, groups: int, convolve: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> tf.Tensor:
    """Return a convolution group by group: on CPUs TensorFlow has no gradient of a grouped one."""
    if groups == 1:
        return convolve(x, weight)
    pairs = zip(tf.split(x, groups, -1), tf.split(weight, groups, -1), strict=True)
    return tf.concat([convolve(part, kernel) for part, kernel in pairs], -1)


def masked(x: tf.Tensor, context: Context) -> tf.Tensor:
    """Return [batch, time, features] with zeros where there is padding."""
    mask = key_mask(context, size_of(x, 1))
    return x if mask is None else x * tf.cast(mask, x.dtype)[:, :, None]
