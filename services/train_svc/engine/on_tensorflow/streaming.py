"""The blocks of `architecture.blocks.streaming` on TensorFlow, and how attention sees chunks."""

from typing import Any

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.streaming import LONGEST_DRAWN, Streaming
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, key_mask, size_of
from services.train_svc.engine.on_tensorflow.chance import uniform


@builds(Streaming)
class ChunkByChunk(TensorflowBlock):
    """One after the other, under a chunk mask."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the last one's output."""
        context.chunk = self._chunk(x, context)
        x = self.run_all(x, context)
        context.chunk = None
        return x

    def _chunk(self, x: tf.Tensor, context: Context) -> tuple[Any, Any]:
        block = self.block
        if not (block.dynamic and context.training) or context.state is not None:
            return block.chunk_size, block.left_chunks
        whole = tf.shape(x)[1]
        drawn = _draw(whole, context) + 1
        size = tf.where(drawn * 2 > whole, whole, drawn % LONGEST_DRAWN + 1)
        return size, _draw((whole - 1) // size + 1, context) if block.dynamic_left else -1


def _draw(below: tf.Tensor, context: Context) -> tf.Tensor:
    return tf.cast(uniform((), context) * tf.cast(below, tf.float32), tf.int32)


def remember(layer: TensorflowBlock, key: tf.Tensor, value: tf.Tensor, context: Context) -> tuple[tf.Tensor, tf.Tensor]:
    """Return keys and values [batch, heads, time, dim] with those of the left chunks before them, and carry on."""
    assert context.chunk is not None
    size, left = context.chunk
    if context.state is None or left == 0:
        return key, value
    key = tf.concat([layer.carried(context, "past_key"), key], 2)
    value = tf.concat([layer.carried(context, "past_value"), value], 2)
    first = 0 if left < 0 else size_of(key, 2) - size * left
    layer.carry(context, "past_key", key[:, :, first:])
    layer.carry(context, "past_value", value[:, :, first:])
    return key, value


def seen_in_chunks(layer: TensorflowBlock, queries: Any, key: tf.Tensor, context: Context) -> tf.Tensor:  # noqa: ANN401
    """Return [batch or 1, 1, queries, keys], true where a query may look; the queries are the last of the keys."""
    assert context.chunk is not None
    (size, left), keys = context.chunk, size_of(key, 2)
    chunks = tf.range(keys) // size
    own = chunks[keys - queries :, None]
    seen = chunks <= own
    if tf.is_tensor(left) or left >= 0:
        seen = seen & (chunks >= own - left)
    real = _real(layer, queries, key, context)
    return seen[None, None] if real is None else seen & real[:, None, None, :]


def _real(layer: TensorflowBlock, queries: Any, key: tf.Tensor, context: Context) -> tf.Tensor | None:  # noqa: ANN401
    # [batch, keys]: no padding, and none of the zeros that a stream begins with.
    past, real = size_of(key, 2) - queries, key_mask(context, queries)
    if context.state is None:
        return real
    assert context.chunk is not None
    size, left = context.chunk
    real = None if real is None else tf.pad(real, [[0, 0], [past, 0]], constant_values=True)
    if left <= 0:
        return real
    valid, most = layer.carried(context, "valid"), size * left
    layer.carry(context, "valid", tf.minimum(valid + tf.cast(queries, valid.dtype), most))
    begun = tf.range(size_of(key, 2))[None, :] >= most - tf.cast(valid, tf.int32)[:, None]
    return begun if real is None else begun & real
