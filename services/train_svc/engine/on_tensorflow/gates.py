"""The gradient reset gate on TensorFlow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from services.train_svc.engine.architecture.blocks.gates import GradientResetGate
from services.train_svc.engine.context import Context
from services.train_svc.engine.on_tensorflow.block import TensorflowBlock, builds

if TYPE_CHECKING:
    from services.train_svc.engine.on_tensorflow.model import Model
    from services.train_svc.engine.on_tensorflow.optimizer import Optimizer


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
def watched(x: tf.Tensor, probe: tf.Tensor, limit: tf.Tensor) -> Any:  # noqa: ANN401
    """Return `x`, and what its gradient becomes: itself or zeros, with its norm as the gradient of a probe."""

    def backward(gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None]:
        norm = tf.norm(tf.cast(gradient, tf.float32))
        return tf.where(norm <= limit, gradient, tf.zeros_like(gradient)), norm, None

    return tf.identity(x), backward


@builds(GradientResetGate)
class Gate(TensorflowBlock):
    """An identity."""

    def call(self, x: tf.Tensor, context: Context) -> tf.Tensor:
        """Return `x`."""
        return watched(x, tf.convert_to_tensor(self.own["probe"]), self.limit()) if context.training else x

    def limit(self) -> tf.Tensor:
        """Return the largest norm that is no spike; while warming up, the largest number."""
        known = self.own["mean"] + self.block.z_score * tf.sqrt(tf.convert_to_tensor(self.own["variance"]))
        return tf.where(self.own["count"] < self.block.warmup, tf.float32.max, known)

    def settle(self, norm: tf.Tensor) -> tf.Tensor:
        """Take in the norm of the last backward pass, and return whether it was no spike."""
        own, fine = self.own, norm <= self.limit()
        alpha = tf.minimum(own["count"] / (own["count"] + 1), self.block.alpha)
        away = norm - own["mean"]
        spread = alpha * (own["variance"] + (1 - alpha) * tf.square(away))
        own["mean"].assign(tf.where(fine, alpha * own["mean"] + (1 - alpha) * norm, own["mean"]))
        own["variance"].assign(tf.where(fine, spread, own["variance"]))
        own["count"].assign_add(tf.cast(fine, tf.float32))
        own["resets"].assign_add(tf.cast(~fine, tf.float32))
        return fine


def has_gates(model: Any) -> bool:  # noqa: ANN401 - ours, or a user's Keras model
    """Return whether a model holds any."""
    return any(isinstance(layer, Gate) for layer in model._flatten_layers())


def settle_gates(model: "Model", optimizer: "Optimizer", gradients: Sequence[Any]) -> list[Any]:
    """Return the gradients without those of probes, after every gate took in its own; see torch's."""
    given = dict(zip(optimizer.variables, gradients, strict=True))
    for layer in model._flatten_layers():
        if isinstance(layer, Gate) and given.get(f"{layer.node.name}.probe") is not None:
            fine = layer.settle(given[f"{layer.node.name}.probe"])
            given[f"{layer.node.name}.probe"] = None
            for key, slot in optimizer.slots.items():
                if key.rpartition("/")[0].startswith(behind(model, layer.node.name)):
                    slot.assign(tf.where(fine, slot, tf.zeros_like(slot)))
    return list(given.values())


def behind(model: "Model", gate: str) -> tuple[str, ...]:
    """Return how the names of the parameters begin that stand before the gate in its list."""
    parent, _, last = gate.rpartition(".")
    siblings: Any = model
    for name in parent.split(".") if parent else ():
        siblings = siblings.inner[name]
    before = list(siblings.inner)[: list(siblings.inner).index(last)]
    return tuple(f"{parent}.{name}." if parent else f"{name}." for name in before)
