"""The blocks of `architecture.blocks.alignment` on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.alignment import (
    DynamicConvolutionAttention,
    LocationSensitiveAttention,
)
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds, key_mask, size_of
from services.train_svc.engine.on_tensorflow.emformer import windows
from services.train_svc.engine.on_tensorflow.recurrent import scan

Tensors = list[tf.Tensor]


class Aligned(TensorflowBlock):
    """[batch, time, features] to contexts [batch, time, features of the memory], frame by frame."""

    past: tuple[str, ...]
    """What is carried: the last weights, and the sum of all where that counts."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the contexts, and keep the weights [batch, time, time of the memory]."""
        *keys, value = self._memory(context)
        real = self._real(value, context)

        def move(_: tf.Tensor, query: tf.Tensor, *past: tf.Tensor) -> tuple[Tensors, Tensors]:
            energies = self.energies(query[:, None], keys, list(past), context)
            energies = energies if real is None else tf.where(real, energies, energies.dtype.min)
            weights = tf.nn.softmax(energies)
            return [weights], [weights, past[-1] + weights][: len(past)]

        queries, start = self.run("query", x, context), self._past(value, context)
        shapes = [tf.TensorShape([value.shape[0], value.shape[1]])] * len(start)
        (alignment,), past = scan(move, queries, start, [value.shape[1]], shapes)
        if context.state is not None:
            for name, tensor in zip(self.past, past, strict=True):
                self.carry(context, name, tensor)
        context.keep(self.block.weights, alignment)
        return tf.matmul(alignment, value)

    def energies(self, query: tf.Tensor, keys: Tensors, past: Tensors, context: Context) -> tf.Tensor:
        """Return [batch, time of the memory] for one frame's query [batch, 1, features]."""
        raise NotImplementedError(type(self).__name__)

    def project(self, memory: tf.Tensor, context: Context) -> tuple[tf.Tensor, ...]:
        """Return what the block makes of its memory, and the memory."""
        raise NotImplementedError(type(self).__name__)

    def begun(self, context: Context) -> dict[str, tf.Tensor]:
        """Return the weights of no frame: zeros."""
        past = self._past(self._memory(context)[-1], context)
        return {f"{self.node.name}.{name}": tensor for name, tensor in zip(self.past, past, strict=True)}

    def _memory(self, context: Context) -> tuple[tf.Tensor, ...]:
        if context.state is None:
            return self.project(context.values[self.block.memory], context)
        names = ("memory_key", "memory_value")
        return tuple(self.carried(context, name) for name in names if f"{self.node.name}.{name}" in context.state)

    def _past(self, memory: tf.Tensor, context: Context) -> Tensors:
        if context.state is None:
            return [tf.zeros([size_of(memory, 0), size_of(memory, 1)], memory.dtype) for _ in self.past]
        kept = [self.carried(context, name) for name in self.past]
        long = [tf.pad(each, [[0, 0], [0, size_of(memory, 1) - size_of(each, 1)]]) for each in kept]
        return [tf.ensure_shape(each, [None, memory.shape[1]]) for each in long]

    def _real(self, memory: tf.Tensor, context: Context) -> tf.Tensor | None:
        inner = Context({})
        inner.lengths, inner.mask = context.padding.get(self.block.memory, (None, None))
        return key_mask(inner, size_of(memory, 1))


@builds(LocationSensitiveAttention)
class LocationSensitive(Aligned):
    """Sees the last weights and the sum of all."""

    past = ("weights", "total")

    def energies(self, query: tf.Tensor, keys: Tensors, past: Tensors, context: Context) -> tf.Tensor:
        """Return v tanh(query + key + location)."""
        location = self.run("spread", self.run("location", tf.stack(past, -1), Context({})), context)
        return self.run("score", tf.tanh(query + keys[0] + location), context)[:, :, 0]

    def project(self, memory: tf.Tensor, context: Context) -> tuple[tf.Tensor, ...]:
        """Return keys [batch, time, features], and the memory."""
        return self.run("key", memory, context), memory


@builds(DynamicConvolutionAttention)
class DynamicConvolution(Aligned):
    """Sees the last weights alone."""

    past = ("weights",)

    def energies(self, query: tf.Tensor, keys: Tensors, past: Tensors, context: Context) -> tf.Tensor:
        """Return v tanh(U (F * a) + T (G(query) * a) + b) + log(P * a)."""
        block = self.block
        before, half = self._started(past[0]), block.kernel_size // 2
        near = _windows(before, half, half)
        filters = self.run("dynamic", tf.tanh(query), context)
        filters = tf.reshape(filters, [size_of(filters, 0), block.filters, block.kernel_size])
        moved = self.run("spread_static", self.run("static", near, context), context)
        moved += self.run("spread_dynamic", tf.matmul(near, filters, transpose_b=True), context)
        prior = tf.constant(block.prior[::-1], before.dtype)
        reached = tf.linalg.matvec(_windows(before, block.prior_length - 1, 0), prior)
        return self.run("score", tf.tanh(moved), context)[:, :, 0] + tf.math.log(tf.maximum(reached, 1e-6))

    def project(self, memory: tf.Tensor, context: Context) -> tuple[tf.Tensor, ...]:
        """Return the memory."""
        return (memory,)

    def _started(self, weights: tf.Tensor) -> tf.Tensor:
        # Before the first frame all of it lies on the start of the memory.
        start = tf.cast(tf.range(size_of(weights, 1)) == 0, weights.dtype)
        return tf.where(tf.reduce_sum(weights, 1, keepdims=True) > 0, weights, start)


def _windows(x: tf.Tensor, left: int, right: int) -> tf.Tensor:
    # [batch, time] to [batch, time, left + 1 + right]: each place and those around it.
    slots = windows(size_of(x, 1), 1, left + 1 + right)
    return tf.gather(tf.pad(x, [[0, 0], [left, right]]), slots, axis=1)
