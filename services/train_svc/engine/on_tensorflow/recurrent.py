"""The blocks of `architecture.blocks.recurrent` on TensorFlow."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.recurrent import GATES, Feedback, Lstm, ShiftRight
from services.train_svc.engine.architecture.node import Node
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import Builder, TensorflowBlock, builds, key_mask, size_of
from services.train_svc.engine.on_tensorflow.chance import at_frame
from services.train_svc.engine.on_tensorflow.linear import product
from services.train_svc.engine.stepping import constants, states_of

Pair = tuple[tf.Tensor, tf.Tensor]


@builds(Lstm)
class Recurrence(TensorflowBlock):
    """[batch, time, features] to [batch, time, hidden_size]."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the hidden vectors."""
        zeros = tf.zeros([size_of(x, 0), self.block.hidden_size], x.dtype)
        if self.block.bidirectional:
            backward = self._read(reverse(x, context), (zeros, zeros), context, "_reverse")[0]
            return tf.concat([self._read(x, (zeros, zeros), context)[0], reverse(backward, context)], -1)
        if context.state is None:
            return self._read(x, (zeros, zeros), context)[0]
        start = self.carried(context, "hidden"), self.carried(context, "cell")
        output, (hidden, cell) = self._read(x, start, context)
        self.carry(context, "hidden", hidden)
        self.carry(context, "cell", cell)
        return output

    def _read(self, x: tf.Tensor, start: Pair, context: Context, suffix: str = "") -> tuple[tf.Tensor, Pair]:
        # The outputs, and hidden vector and cell after the last frame.
        own = {name: tf.convert_to_tensor(variable) for name, variable in self.own.items()}
        inputs, weight = product(x, own[f"weight_ih_l0{suffix}"]), own[f"weight_hh_l0{suffix}"]
        if not self.block.norm_eps:
            inputs += own[f"bias_ih_l0{suffix}"] + own[f"bias_hh_l0{suffix}"]

        def move(_: tf.Tensor, frame: tf.Tensor, *before: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            hidden, cell = before
            moved = self._move(frame + tf.matmul(hidden, weight, transpose_b=True), cell, context)
            return [moved[0]], list(moved)

        (output,), (hidden, cell) = scan(move, inputs, list(start), [self.block.hidden_size])
        return output, (hidden, cell)

    def _move(self, gates: tf.Tensor, cell: tf.Tensor, context: Context) -> Pair:
        norms = self.inner
        gates = norms["gate_norm"].call(gates, context) if norms else gates
        enter, forget, new, leave = tf.split(gates, GATES, -1)
        cell = tf.sigmoid(forget) * cell + tf.sigmoid(enter) * tf.tanh(new)
        cell = norms["cell_norm"].call(cell, context) if norms else cell
        return tf.sigmoid(leave) * tf.tanh(cell), cell


def scan(
    move: Callable[..., tuple[list[tf.Tensor], list[tf.Tensor]]],
    inputs: tf.Tensor,
    state: list[tf.Tensor],
    widths: list[int | None],
    invariants: list[tf.TensorShape] | None = None,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Return what `move` makes of every frame, and the state after the last.

    Args:
        move: takes a frame's place, the frame [batch, features] and the state; returns what it makes, each
            [batch, width], and the state.
        inputs: [batch, time, features].
        state: before the first frame.
        widths: of what `move` makes; None where it is not known.
        invariants: shapes of the state that hold for every frame; left out, those that it begins with.
    """
    time, batch = size_of(inputs, 1), inputs.shape[0]
    if inputs.shape[1] == 1:
        made, state = move(0, inputs[:, 0], *state)
        return [each[:, None] for each in made], state
    frames = tf.TensorArray(inputs.dtype, time).unstack(tf.transpose(inputs, [1, 0, 2]))
    arrays = [tf.TensorArray(inputs.dtype, time, element_shape=[batch, width]) for width in widths]

    def body(index: tf.Tensor, state: list[tf.Tensor], arrays: list[tf.TensorArray]) -> Any:  # noqa: ANN401
        made, state = move(index, frames.read(index), *state)
        return index + 1, state, [array.write(index, each) for array, each in zip(arrays, made, strict=True)]

    shapes = invariants or [each.shape for each in state]
    _, state, arrays = tf.while_loop(
        lambda index, *_: index < time,
        body,
        (0, state, arrays),
        shape_invariants=(tf.TensorShape([]), shapes, [tf.TensorShape(None)] * len(arrays)),
    )
    made = [tf.transpose(array.stack(), [1, 0, 2]) for array in arrays]
    return [tf.ensure_shape(each, [batch, inputs.shape[1], w]) for each, w in zip(made, widths, strict=True)], state


def reverse(x: tf.Tensor, context: Context) -> tf.Tensor:
    """Return [batch, time, features] from the last real frame to the first, then the padding."""
    mask = key_mask(context, size_of(x, 1))
    if mask is None:
        return tf.reverse(x, [1])
    return tf.reverse_sequence(x, tf.reduce_sum(tf.cast(mask, tf.int32), 1), 1, 0)


@builds(Feedback)
class Looped(TensorflowBlock):
    """[batch, time, features] to what the body makes, frame by frame."""

    def __init__(self, node: Node, builder: Builder) -> None:
        super().__init__(node, builder)
        self.specs = states_of(node)
        self.last = f"{node.name}.last"
        self.changing = [name for name, spec in self.specs.items() if not spec.constant]

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the body's outputs, and keep the named values of all frames."""
        block, state = self.block, self._begun(x, context)

        def move(index: tf.Tensor, frame: tf.Tensor, *carried: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            before = dict(zip(self.changing, carried, strict=True))
            inner = context.stepping({**state, **before})
            inner.seed = at_frame(context, index)
            y = self.run("body", tf.concat([frame, before[self.last]], -1)[:, None], inner)[:, 0]
            after = {**before, **inner.new_state, self.last: y[:, y.shape[1] - block.features :]}
            return [y, *(inner.values[name][:, 0] for name in block.keep)], [after[name] for name in self.changing]

        start = [state[name] for name in self.changing]
        widths = [self.node.output_shape[1], *(None for _ in block.keep)]
        (output, *kept), after = scan(move, x, start, widths, [self._held(name, state[name]) for name in self.changing])
        for name, value in zip(block.keep, kept, strict=True):
            context.keep(name, value)
        if context.state is not None:
            context.new_state |= dict(zip(self.changing, after, strict=True))
        return output

    def _held(self, name: str, tensor: tf.Tensor) -> tf.TensorShape:
        # What stays while the loop runs: a cache grows.
        shape = self.specs[name].shape
        return tf.TensorShape([*tensor.shape[: len(tensor.shape) - len(shape)], *shape])

    def _begun(self, x: tf.Tensor, context: Context) -> dict[str, tf.Tensor]:
        # What blocks carry, in its full size.
        state = self._start(x, context) if context.state is None else dict(context.state)
        inner = context.stepping(state)
        for layer in self.inner["body"]._flatten_layers():
            state |= layer.begun(inner)
        return state

    def _start(self, x: tf.Tensor, context: Context) -> dict[str, tf.Tensor]:
        # As the model's `initial_state`, within a run of the whole input.
        state = {}
        for name in self.changing:
            spec = self.specs[name]
            sizes = [size or 0 for size in spec.shape]
            state[name] = tf.zeros([size_of(x, 0), *sizes] if spec.per_sample else sizes, spec.dtype)
        for layer in self.inner["body"]._flatten_layers():
            memory = getattr(getattr(layer, "block", None), "memory", "")
            if memory:
                names = constants(self.specs, layer.node.name)
                state |= dict(zip(names, layer.project(context.values[memory], Context({})), strict=True))
        return state


@builds(ShiftRight)
class Shifted(TensorflowBlock):
    """Zeros, then all but the last."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return the same shape; in a loop `x`."""
        return tf.pad(x, [[0, 0], [1, 0], [0, 0]])[:, : size_of(x, 1)] if context.state is None else x
