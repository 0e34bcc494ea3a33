"""A whole model on TensorFlow."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.architecture.node import PICTURE_AXES, Lattice, Shape
from services.train_svc.engine.context import Context
from services.train_svc.engine.feeding import bind
from services.train_svc.engine.on_tensorflow.block import Builder, key_mask, size_of
from services.train_svc.engine.stepping import (
    MASK,
    check_memory,
    constants,
    given_out,
    memories,
    padding_of,
    state_specs,
    stepping_node,
)


class Model(keras.Model):  # type: ignore[misc]  # Keras has no types
    """The Keras model of a description: called with its inputs, in their order or as a dict by name.

    Inputs and outputs have the description's shapes, pictures [batch, channels, height, width] too; inside, pictures
    are [batch, height, width, channels]. One output comes alone, several as a dict.
    """

    def __init__(self, description: Description, builder: Builder) -> None:
        super().__init__(name=description.name)
        self.description = description
        self.inner = {name: builder.build(node) for name, node in description.root.children.items()}
        self.built = True

    def call(self, inputs: Any, training: bool = False, seed: Any = None) -> Any:  # noqa: ANN401 - Keras has no types
        """Return the output, or the outputs by name.

        Args:
            inputs: the inputs in order, or by name.
            training: whether dropout drops.
            seed: [2] int32, of dropout and all else that is random; left out, TensorFlow's own generator draws.

        Raises:
            InvalidError: an input is unknown, missing, or one too many.
        """
        ordered = inputs if isinstance(inputs, list | tuple) else () if isinstance(inputs, Mapping) else (inputs,)
        named = inputs if isinstance(inputs, Mapping) else {}
        context = Context(self._values(bind(self.description, ordered, named)), training=bool(training))
        context.seed = seed
        return self._outputs(self._flow(context), context)

    def step(self, state: Mapping[str, tf.Tensor], inputs: Any, part: str = "") -> Any:  # noqa: ANN401
        """Return the outputs for the next frames of a stream, or tokens of a loop, and the state for the step after.

        Args:
            state: what `initial_state` or the step before gave.
            inputs: the model's or the part's inputs, in order or by name.
            part: the part that runs alone, such as `decoder`; empty: the whole model.
        """
        context = Context(self._values(inputs, part), dict(state))
        context.padding |= padding_of(state)
        x = self._flow(context, part)
        kept = {name: tensor for name, tensor in state.items() if name not in context.new_state}
        return self._outputs(x, context, part), {**kept, **context.new_state}

    def encode(self, inputs: Any, part: str = "encoder") -> dict[str, tf.Tensor]:  # noqa: ANN401 - as `step`
        """Return what `initial_state` takes: a part's output by its name, and `<name>_mask` where something is padded.

        Args:
            inputs: the part's one input, or its inputs by name.
            part: the part, such as `encoder`, whose output others look at.
        """
        context = Context(self._values(inputs, part))
        self._flow(context, part)
        name = self.inner[part].block.output
        x = context.go_on_with(name)
        mask = key_mask(context, size_of(x, 1))
        return {name: x} if mask is None else {name: x, name + MASK: mask}

    def initial_state(self, batch: int, part: str = "", **memory: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the state before the first step; arguments and errors as on torch."""
        check_memory(self.description, part, memory)
        specs = state_specs(self.description, part)
        state = {
            name: tf.zeros([batch] * spec.per_sample + [size or 0 for size in spec.shape], spec.dtype)
            for name, spec in specs.items()
            if not spec.constant
        }
        return state | self.project_memory(part, **memory)

    def project_memory(self, part: str, **memory: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the constant state: what every block makes of the memory that it looks at, and the memories' masks."""
        specs, state = state_specs(self.description, part), dict[str, tf.Tensor]()
        for layer in (self.inner[part] if part else self)._flatten_layers():
            name = getattr(getattr(layer, "block", None), "memory", "")
            if name:
                made = layer.project(memory[name], Context({}))
                state |= dict(zip(constants(specs, layer.node.name), made, strict=True))
        for name in memories(self.description, part):
            if name + MASK in specs:
                whole = tf.ones(tf.shape(memory[name])[:2], tf.bool)
                state[name + MASK] = memory.get(name + MASK, whole)
        return state

    def _values(self, inputs: Any, part: str = "") -> dict[str, Any]:  # noqa: ANN401
        if not isinstance(inputs, Mapping):
            given = inputs if isinstance(inputs, list | tuple) else (inputs,)
            names = list(self.description.inputs)
            names = [self.inner[part].block.input or names[0]] if part else names
            inputs = dict(zip(names, given, strict=False))
        return {name: _inward(tf.convert_to_tensor(value)) for name, value in inputs.items() if value is not None}

    def _flow(self, context: Context, part: str = "") -> Any:  # noqa: ANN401
        x = next(iter(context.values.values()))
        for layer in [self.inner[part]] if part else self.inner.values():
            x = layer.call(x, context)
        return x

    def _outputs(self, x: Any, context: Context, part: str = "") -> Any:  # noqa: ANN401
        names = given_out(self.description, context, part)
        if not names:
            return _outward(x, stepping_node(self.description, part).output_shape)
        values = {name: _outward(context.values[name], self.description.output_shapes[name]) for name in names}
        return values[names[0]] if len(names) == 1 else values


def _inward(x: Any) -> Any:  # noqa: ANN401
    return tf.transpose(x, [0, 2, 3, 1]) if len(x.shape) == PICTURE_AXES + 1 else x


def _outward(x: Any, shape: Shape) -> Any:  # noqa: ANN401
    picture = len(shape) == PICTURE_AXES and not isinstance(shape, Lattice)
    return tf.transpose(x, [0, 3, 1, 2]) if picture else x


def build_tensorflow(description: Description) -> Model:
    """Return the Keras model."""
    return Model(description, Builder())
