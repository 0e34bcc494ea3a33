"""Any Keras model called with a batch: ours by the names of its inputs, a user's own in their order."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from services.train_svc.engine.on_tensorflow.model import Model

Tensors = dict[str, Any]
OUTPUT = "output"
"""Name of the one tensor that a user's own model gives."""


def materialize(model: Any, inputs: Callable[[], Mapping[str, Any]]) -> None:  # noqa: ANN401 - Keras's
    """Build a user's own Keras model, if it is not built, by calling it once.

    Args:
        model: any Keras model.
        inputs: gives those of a batch, on the host; called if they are needed.
    """
    if not model.built:
        call(model, {name: tf.convert_to_tensor(array) for name, array in inputs().items()}, training=False)


def call(model: Any, inputs: Tensors, *, training: bool, seed: Any = None) -> Tensors:  # noqa: ANN401 - Keras's
    """Return a model's outputs by name: those of its description; else `output`, `output_1` ... or its own keys.

    Args:
        model: what `build` made, or any Keras model.
        inputs: by name; a model that is not ours gets them in their order.
        training: whether dropout drops.
        seed: [2] int32 of what is random in a model of ours.
    """
    if isinstance(model, Model):
        made = model(inputs, training=training, seed=seed)
        return _named(made, next(iter(model.description.output_shapes)))
    given = list(inputs.values())
    return _named(model(given[0] if len(given) == 1 else given, training=training), OUTPUT)


def _named(outputs: Any, name: str) -> Tensors:  # noqa: ANN401 - whatever a model returns
    if isinstance(outputs, Mapping):
        return dict(outputs)
    if isinstance(outputs, list | tuple):
        return {f"{name}_{place}" if place else name: tf.convert_to_tensor(each) for place, each in enumerate(outputs)}
    return {name: outputs}
