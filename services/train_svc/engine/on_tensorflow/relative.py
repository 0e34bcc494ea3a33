"""The blocks of `architecture.blocks.relative` on TensorFlow."""

import math
from typing import Any

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.relative import RelativeAttention
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.attention import attend, dropping, join_heads, split_heads
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, key_mask, size_of
from services.train_svc.engine.on_tensorflow.streaming import remember, seen_in_chunks


@builds(RelativeAttention)
class DistanceAttention(TensorflowBlock):
    """[batch, time, features] to the same."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the attention's output."""
        heads = self.block.heads
        query, key, value = (split_heads(self.run(name, x, context), heads) for name in ("query", "key", "value"))
        if context.chunk is not None:
            key, value = remember(self, key, value, context)
        keys, scale = size_of(key, 2), query.shape[-1] ** -0.5
        far = split_heads(self.run("position", distances(x, keys)[None], context), heads)
        scores = tf.matmul(query + self.own["position_bias"][:, None], far, transpose_b=True)
        mixed = attend(
            query + self.own["content_bias"][:, None],
            key,
            value,
            mask=self._seen(query, key, context),
            bias=shift(scores, keys) * scale,
            scale=scale,
            drops=dropping(self.block.dropout, context),
        )
        return self.run("output", join_heads(mixed), context)

    def _seen(self, query: tf.Tensor, key: tf.Tensor, context: Context) -> tf.Tensor | None:
        if context.chunk is not None:
            return seen_in_chunks(self, size_of(query, 2), key, context)
        mask = key_mask(context, size_of(key, 2))
        return None if mask is None else mask[:, None, None, :]


def distances(x: tf.Tensor, keys: Any) -> tf.Tensor:  # noqa: ANN401 - as `size_of`
    """Return [keys + time - 1, features]: waves of the distances from the last query and first key downwards."""
    time, wide = size_of(x, 1), x.shape[2]
    places = tf.cast(tf.range(keys - 1, -time, -1), tf.float32)
    rates = tf.exp(tf.range(0, wide, 2, dtype=tf.float32) * (-math.log(10000.0) / wide))
    angles = places[:, None] * rates
    return tf.cast(tf.reshape(tf.stack([tf.sin(angles), tf.cos(angles)], -1), [-1, wide]), x.dtype)


def shift(scores: tf.Tensor, keys: Any) -> tf.Tensor:  # noqa: ANN401 - as `size_of`
    """Return [..., queries, keys] of scores [..., queries, distances]: query i and key j at distance i - j."""
    batch, heads, queries, count = (size_of(scores, axis) for axis in range(4))
    padded = tf.reshape(tf.pad(scores, [[0, 0], [0, 0], [0, 0], [1, 0]]), [batch, heads, count + 1, queries])
    return tf.reshape(padded[:, :, 1:], [batch, heads, queries, count])[..., :keys]
