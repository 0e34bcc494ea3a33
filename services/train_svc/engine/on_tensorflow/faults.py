"""Which layer of a model first gave something that is no number."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

Found = list[str]
ITSELF = "the model itself"


def first_fault(model: Any, loss: Callable[[], Any], trained: Mapping[str, Any]) -> str:  # noqa: ANN401 - Keras's
    """Return what first is not finite in a step that is made again, without changing weights; empty: nothing is.

    Args:
        model: whose layers are watched.
        loss: computes the loss of the batch, not traced.
        trained: variables that learn, by name, in the order of the layers.
    """
    for name, variable in trained.items():
        if not _is_finite(variable):
            return f"the weights {name!r} themselves"
    found: Found = []
    with _watched(model, found), tf.GradientTape() as tape:
        value = loss()
    if not found and not _is_finite(value):
        found.append("the loss itself, from outputs that are finite")
    if not found:
        gradients = tape.gradient(value, list(trained.values()))
        # Gradients come from the end of the model.
        bad = [name for name, each in zip(trained, gradients, strict=True) if each is not None and not _is_finite(each)]
        found += [f"the gradient of {name!r}" for name in bad[-1:]]
    return found[0] if found else ""


@contextmanager
def _watched(model: Any, found: Found) -> Iterator[None]:  # noqa: ANN401 - Keras's
    # An attribute of the object stands before the method of its class, for Keras's calls and for those of our blocks.
    layers = [layer for layer in model._flatten_layers(include_self=True) if "call" not in vars(layer)]
    for layer in layers:
        vars(layer)["call"] = _watch(layer, ITSELF if layer is model else "", found)
    try:
        yield
    finally:
        for layer in layers:
            vars(layer).pop("call", None)


def _watch(layer: Any, name: str, found: Found) -> Callable[..., Any]:  # noqa: ANN401 - Keras's
    call, node = layer.call, getattr(layer, "node", None)
    name = name or (node.name if node is not None else layer.name)

    def watched(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever a layer takes and gives
        made = call(*given, **named)
        if not found and not all(map(_is_finite, tf.nest.flatten(made))):
            bad_input = not all(map(_is_finite, tf.nest.flatten(given[:1])))
            of = "the input of" if bad_input else "the output of"
            found.append(f"{of} {name!r} ({type(layer).__name__})")
        return made

    return watched


def _is_finite(value: Any) -> bool:  # noqa: ANN401 - a tensor, a variable, or nothing of the kind
    if not hasattr(value, "dtype"):
        return True
    tensor = tf.convert_to_tensor(value)
    return not tensor.dtype.is_floating or bool(tf.reduce_all(tf.math.is_finite(tensor)))
