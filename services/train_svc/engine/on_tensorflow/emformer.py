"""The blocks of `architecture.blocks.emformer` on TensorFlow."""

from typing import Any

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.emformer import MEANS, SegmentAttention, Segments, StackFrames
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.attention import attend, dropping
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, key_mask, size_of


@builds(StackFrames)
class Stacked(TensorflowBlock):
    """[batch, time, features] to [batch, time / count, count * features]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the wide frames; the lengths shrink with them."""
        count = self.block.count
        time = size_of(x, 1) // count
        context.resize(count, count, (0, 0))
        return tf.reshape(x[:, : time * count], [size_of(x, 0), time, count * x.shape[2]])


@builds(Segments)
class Cut(TensorflowBlock):
    """[batch, time, features], cut into segments for the body and put together again."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return [batch, time, features]; in a stream without the right context."""
        block, time, (lengths, mask) = self.block, size_of(x, 1), (context.lengths, context.mask)
        count = -(-time // block.length) if context.state is None else (time - block.right_context) // block.length
        missing = count * block.length + block.right_context - time
        if context.state is not None and isinstance(missing, int) and missing:
            wanted = f"{block.length} n + {block.right_context}"
            raise ValueError(f"{self.node.name} got {time} frames, wanted {wanted}; pad the last and say its length")
        real = key_mask(context, time)
        if real is None and context.state is None:
            real = tf.ones([size_of(x, 0), time], tf.bool)
        slots = windows(count, block.length, block.slots)
        x = tf.gather(tf.pad(x, [[0, 0], [0, missing], [0, 0]]), slots, axis=1)
        context.memo[MEANS] = tf.reduce_mean(x[:, :, : block.length], 2)
        context.lengths, context.mask = None, None
        if real is not None:
            context.mask = _joined(tf.gather(tf.pad(real, [[0, 0], [0, missing]]), slots, axis=1))
        x = self.run("body", _joined(x), context)
        kept = time if context.state is None else count * block.length
        context.lengths = None if lengths is None else tf.minimum(lengths, tf.cast(kept, lengths.dtype))
        context.mask = None if mask is None else mask[:, :kept]
        return _joined(_parted(x, block.slots)[:, :, : block.length])[:, :kept]


@builds(SegmentAttention)
class SegmentedAttention(TensorflowBlock):
    """[batch, segments * slots, features] to the same."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the attention's output, and leave the next layer's memory."""
        block, segments = self.block, _parted(x, self.block.slots)
        real = key_mask(context, size_of(x, 1))
        real = tf.ones(tf.shape(x)[:2], tf.bool) if real is None else real
        queries = segments
        if block.memory_size:
            queries = tf.concat([segments, tf.reduce_mean(segments[:, :, : block.length], 2, keepdims=True)], 2)
        keys, values, seen = self._sources(segments, _parted(real, block.slots), context)
        mixed = attend(
            self._heads(self.run("query", queries, context)),
            self._heads(keys),
            self._heads(values),
            mask=self._mask(seen, queries.shape[2]),
            bias=None,
            scale=(x.shape[2] // block.heads) ** -0.5,
            drops=dropping(block.dropout, context),
        )
        result = self.run("output", tf.reshape(tf.transpose(mixed, [0, 1, 3, 2, 4]), tf.shape(queries)), context)
        result = tf.ensure_shape(result, queries.shape)
        if block.memory_size:
            context.memo[MEANS] = tf.tanh(result[:, :, -1])
        return _joined(result[:, :, : block.slots])

    def _heads(self, x: tf.Tensor) -> tf.Tensor:
        sizes = [size_of(x, 0), size_of(x, 1), x.shape[2], self.block.heads, x.shape[3] // self.block.heads]
        return tf.transpose(tf.reshape(x, sizes), [0, 1, 3, 2, 4])

    def _sources(
        self, segments: tf.Tensor, real: tf.Tensor, context: Context
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # [batch, segments, seen, ...]: keys and values of the bank, the left context, the segment, its right context.
        block = self.block
        made = {"left_key": self.run("key", segments, context), "left_value": self.run("value", segments, context)}
        parts = [[self._near(each, name, context)] for name, each in {**made, "left_real": real}.items()]
        if block.memory_size:
            vectors = context.memo[MEANS]
            bank = self._past("bank", vectors, block.memory_size, context)
            there = self._past("bank_real", tf.ones(tf.shape(vectors)[:2], tf.bool), block.memory_size, context)
            slots = windows(size_of(vectors, 1), 1, block.memory_size)
            kept = (self.run("key", bank, context), self.run("value", bank, context), there)
            for part, each in zip(parts, kept, strict=True):
                part.insert(0, tf.gather(each, slots, axis=1))
        keys, values, seen = (tf.concat(part, 2) for part in parts)
        return keys, values, seen

    def _near(self, x: tf.Tensor, name: str, context: Context) -> tf.Tensor:
        # [batch, segments, left context + slots, ...]
        block = self.block
        line = self._past(name, _joined(x[:, :, : block.length]), block.left_context, context)
        slots = windows(size_of(x, 1), block.length, block.left_context + block.length)
        return tf.concat([tf.gather(line, slots, axis=1), x[:, :, block.length :]], 2)

    def _past(self, name: str, x: tf.Tensor, size: int, context: Context) -> tf.Tensor:
        # `x` [batch, time, ...] after the last `size` frames of the steps before, or after zeros.
        if not size:
            return x
        stepping = context.state is not None
        before = self.carried(context, name) if stepping else tf.zeros([size_of(x, 0), size, *x.shape[2:]], x.dtype)
        line = tf.concat([before, x], 1)
        if stepping:
            self.carry(context, name, line[:, size_of(line, 1) - size :])
        return line

    def _mask(self, seen: tf.Tensor, queries: int) -> tf.Tensor:
        # [batch, segments, 1, queries, seen]; what is all padding may see all of it, so that it stays finite.
        seen, bank = seen[:, :, None], self.block.memory_size
        mask = tf.repeat(seen, queries - 1, 2) if bank else seen
        if bank:
            # The mean of a segment does not see the bank.
            last = tf.concat([tf.zeros_like(seen[..., :bank]), seen[..., bank:]], -1)
            mask = tf.concat([mask, last], 2)
        return (mask | ~tf.reduce_any(mask, -1, keepdims=True))[:, :, None]


def windows(count: Any, hop: int, size: int) -> tf.Tensor:  # noqa: ANN401 - as `size_of`
    """Return [count, size] places: those of windows of `size` that begin every `hop`."""
    return tf.range(count)[:, None] * hop + tf.range(size)


def _parted(x: tf.Tensor, slots: int) -> tf.Tensor:
    # [batch, segments * slots, ...] as [batch, segments, slots, ...]
    return tf.reshape(x, [size_of(x, 0), size_of(x, 1) // slots, slots, *x.shape[2:]])


def _joined(x: tf.Tensor) -> tf.Tensor:
    # [batch, segments, slots, ...] as [batch, segments * slots, ...]
    return tf.reshape(x, [size_of(x, 0), size_of(x, 1) * size_of(x, 2), *x.shape[3:]])
