"""The blocks of `architecture.blocks.windows` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.windows import APART, SpatialAttention, WindowAttention
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.attention import attend, dropping, join_heads, split_heads
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, size_of
from services.train_svc.engine.on_tensorflow.pixels import filled


class PixelAttention(TensorflowBlock):
    """What both kinds share."""

    def mixed(
        self, x: tf.Tensor, memory: tf.Tensor, context: Context, windows: int = 1, bias: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Return the heads' outputs [batch, pixels, windows * features], still without the output layer."""
        query, key, value = (
            split_heads(_flat(self.run(name, source, context), windows), self.block.heads * windows)
            for name, source in (("query", x), ("key", memory), ("value", memory))
        )
        drops, scale = dropping(self.block.dropout, context), query.shape[-1] ** -0.5
        return join_heads(attend(query, key, value, mask=None, bias=bias, scale=scale, drops=drops))


@builds(WindowAttention)
class Windows(PixelAttention):
    """[N, H, W, C] to the same."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the attention's output."""
        height, width = self.node.input_shape[1:]
        side, shift = self.block.fitted(height, width)
        x = filled(x, side)
        grid = (x.shape[1] // side, x.shape[2] // side)
        x = cut(tf.roll(x, [-shift, -shift], [1, 2]) if shift else x, grid, side)
        # Windows stand beside the heads, not in the batch: their biases are then the same for every sample.
        x = joined(self.mixed(x, x, context, grid[0] * grid[1], self._bias(grid, side, shift)), grid, side)
        x = tf.roll(x, [shift, shift], [1, 2]) if shift else x
        return self.run("output", x[:, :height, :width], context)

    def _bias(self, grid: tuple[int, int], side: int, shift: int) -> tf.Tensor:
        # [1, windows * heads, pixels, pixels]
        rows = tf.gather(tf.convert_to_tensor(self.own["table"]), _distances(side))
        bias = tf.transpose(rows, [2, 0, 1])[None] + tf.cast(_apart(grid, side, shift), rows.dtype)
        return tf.reshape(bias, [1, -1, *bias.shape[2:]])


def cut(x: tf.Tensor, grid: tuple[int, int], side: int) -> tf.Tensor:
    """Return [batch, height, width, features] as [batch, pixels of a window, windows, features]."""
    batch, features = size_of(x, 0), x.shape[3]
    x = tf.transpose(tf.reshape(x, [batch, grid[0], side, grid[1], side, features]), [0, 2, 4, 1, 3, 5])
    return tf.reshape(x, [batch, side * side, grid[0] * grid[1], features])


def joined(x: tf.Tensor, grid: tuple[int, int], side: int) -> tf.Tensor:
    """Return [batch, pixels of a window, windows * features] as [batch, height, width, features]."""
    batch, features = size_of(x, 0), x.shape[2] // (grid[0] * grid[1])
    x = tf.transpose(tf.reshape(x, [batch, side, side, *grid, features]), [0, 3, 1, 4, 2, 5])
    return tf.reshape(x, [batch, grid[0] * side, grid[1] * side, features])


def _flat(x: tf.Tensor, windows: int) -> tf.Tensor:
    return tf.reshape(x, [size_of(x, 0), size_of(x, 1), windows * x.shape[-1]])


def _distances(side: int) -> tf.Tensor:
    # [pixels, pixels]: which row of the table is that of a query's place less a key's.
    steps = tf.range(side)
    codes = tf.reshape(steps[:, None] * (2 * side - 1) + steps, [-1])
    return codes[:, None] - codes + 2 * side * (side - 1)


def _apart(grid: tuple[int, int], side: int, shift: int) -> tf.Tensor:
    # [windows, 1, pixels, pixels]: less than 0 between pixels that do not lie side by side in the picture.
    rows, columns = (tf.cast(tf.range(count * side) >= count * side - shift, tf.int32) for count in grid)
    codes = tf.transpose(cut((rows[:, None] * 2 + columns)[None, :, :, None], grid, side)[0, :, :, 0])
    return tf.cast(codes[:, :, None] != codes[:, None, :], tf.float32)[:, None] * APART


@builds(SpatialAttention)
class Reduced(PixelAttention):
    """[N, H, W, C] to the same."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the attention's output."""
        batch, height, width = (size_of(x, axis) for axis in range(3))
        seen = self.run("reduce_norm", self.run("reduce", x, context), context) if self.block.reduction > 1 else x
        rows, keys = (tf.reshape(each, [batch, size_of(each, 1) * size_of(each, 2), x.shape[3]]) for each in (x, seen))
        result = self.run("output", self.mixed(rows, keys, context), context)
        return tf.reshape(result, [batch, height, width, x.shape[3]])
