"""The blocks of `architecture.blocks.attention` on TensorFlow."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.attention import Attention
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, key_mask, size_of
from services.train_svc.engine.on_tensorflow.chance import dropout
from services.train_svc.engine.on_tensorflow.positions import rotate, rotation
from services.train_svc.engine.on_tensorflow.streaming import remember, seen_in_chunks

Drops = Callable[[tf.Tensor], tf.Tensor]
"""Drops attention weights while training, or does nothing."""


@builds(Attention)
class MultiHeadAttention(TensorflowBlock):
    """[batch, time, features] to the same."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the attention's output."""
        query = self._heads(self.run("query", x, context), self.block.heads, context, "query_norm")
        query, key, value, before = self._sources(x, query, context)
        mask = self._mask(query, key, before, context)
        mixed = attend(
            query,
            key,
            value,
            mask=mask,
            bias=context.values[self.block.bias_from] if self.block.bias_from else None,
            scale=self.block.scale or query.shape[-1] ** -0.5,
            drops=dropping(self.block.dropout, context),
        )
        if self.block.window and mask is not None:
            # All in the window may be padding. torch's kernels give 0 then.
            mixed = tf.where(tf.reduce_any(mask, -1, keepdims=True), mixed, tf.zeros_like(mixed))
        return self.run("output", join_heads(mixed), context)

    def project(self, memory: tf.Tensor, context: Context) -> tuple[tf.Tensor, tf.Tensor]:
        """Return keys and values [batch, heads, time, dim] of what is looked at."""
        heads = self.block.kv_heads or self.block.heads
        key = self._heads(self.run("key", memory, context), heads, context, "key_norm")
        return key, self._heads(self.run("value", memory, context), heads, context)

    def _heads(self, x: tf.Tensor, heads: int, context: Context, norm: str = "") -> tf.Tensor:
        x = split_heads(x, heads)
        return self.run(norm, x, context) if norm and self.block.norm_eps else x

    def _sources(self, x: tf.Tensor, query: tf.Tensor, context: Context) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Any]:
        # Query, keys, values, and how many frames went before those of `x`.
        block = self.block
        if block.memory:
            if context.state is not None:
                return query, self.carried(context, "memory_key"), self.carried(context, "memory_value"), 0
            return query, *self.project(context.values[block.memory], context), 0
        key, value = self.project(x, context)
        if context.chunk is not None:
            return self._in_chunks(query, key, value, context)
        stepping = context.state is not None and block.causal
        before = size_of(self.carried(context, "past_key"), 2) if stepping else 0
        if block.rope is not None:
            angles = rotation(block.rope, query.shape[-1], tf.range(size_of(x, 1)) + before)
            angles = tuple(tf.cast(part, query.dtype) for part in angles)
            query, key = rotate(query, *angles), rotate(key, *angles)
        if stepping:
            key = tf.concat([self.carried(context, "past_key"), key], 2)
            value = tf.concat([self.carried(context, "past_value"), value], 2)
            self.carry(context, "past_key", key)
            self.carry(context, "past_value", value)
        return query, key, value, before

    def _in_chunks(
        self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, context: Context
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Any]:
        key, value = remember(self, key, value, context)
        before = size_of(key, 2) - size_of(query, 2)
        if self.block.rope is not None:
            # Kept keys are not turned: distances alone count, so that places may begin with the first of them.
            angles = rotation(self.block.rope, key.shape[-1], tf.range(size_of(key, 2)))
            angles = tuple(tf.cast(part, key.dtype) for part in angles)
            query, key = rotate(query, *(part[before:] for part in angles)), rotate(key, *angles)
        return query, key, value, before

    def _mask(self, query: tf.Tensor, key: tf.Tensor, before: Any, context: Context) -> tf.Tensor | None:  # noqa: ANN401
        # True where a query may look.
        block = self.block
        if context.chunk is not None and not block.memory:
            return seen_in_chunks(self, size_of(query, 2), key, context)
        seen = self._padding(key, context)
        if not (block.causal or block.window):
            return seen
        away = tf.range(size_of(key, 2))[None, :] - (tf.range(size_of(query, 2))[:, None] + before)
        near = away <= 0 if block.causal else away <= block.window
        near = near & (away >= -block.window) if block.window else near
        return near if seen is None else seen & near

    def _padding(self, key: tf.Tensor, context: Context) -> tf.Tensor | None:
        if not self.block.memory:
            mask = None if context.state is not None else key_mask(context, size_of(key, 2))
        else:
            inner = Context({})
            inner.lengths, inner.mask = context.padding.get(self.block.memory, (None, None))
            mask = key_mask(inner, size_of(key, 2))
        return None if mask is None else mask[:, None, None, :]


def split_heads(x: tf.Tensor, heads: int) -> tf.Tensor:
    """Return [batch, time, heads * dim] as [batch, heads, time, dim]."""
    x = tf.reshape(x, [size_of(x, 0), size_of(x, 1), heads, x.shape[-1] // heads])
    return tf.transpose(x, [0, 2, 1, 3])


def join_heads(x: tf.Tensor) -> tf.Tensor:
    """Return [batch, heads, time, dim] as [batch, time, heads * dim]."""
    heads, dim = x.shape[1], x.shape[3]
    x = tf.transpose(x, [0, 2, 1, 3])
    return tf.reshape(x, [size_of(x, 0), size_of(x, 1), heads * dim])


def dropping(rate: float, context: Context) -> Drops:
    """Return what drops attention weights while training."""
    return lambda weights: dropout(weights, rate, context) if rate and context.training else weights


def attend(
    query: tf.Tensor,
    key: tf.Tensor,
    value: tf.Tensor,
    *,
    mask: tf.Tensor | None,
    bias: tf.Tensor | None,
    scale: float,
    drops: Drops,
) -> tf.Tensor:
    """Return softmax(q k^T scale + bias) v over [batch, heads, time, dim]; keys may have fewer heads."""
    if key.shape[1] != query.shape[1]:
        key, value = (tf.repeat(each, query.shape[1] // each.shape[1], 1) for each in (key, value))
    scores = tf.matmul(query, key, transpose_b=True) * scale
    scores = scores if bias is None else scores + bias
    scores = scores if mask is None else tf.where(mask, scores, tf.constant(scores.dtype.min, scores.dtype))
    weights = tf.nn.softmax(scores)
    return tf.matmul(drops(weights), value)
