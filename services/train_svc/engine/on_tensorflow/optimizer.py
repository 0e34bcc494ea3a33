"""The optimizer of a spec on TensorFlow: torch's update rules to the letter, and its state by torch's names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from services.train_svc.engine.on_tensorflow.model import Model
from services.train_svc.engine.on_tensorflow.tensors import from_canonical, named_variables, to_canonical
from services.train_svc.engine.spec import OptimizerSpec

BETA2, EPS = 0.999, 1e-8
SLOTS = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}


class Optimizer:
    """AdamW or SGD as torch computes them; Keras's own place epsilon elsewhere and drift from it."""

    def __init__(self, model: Model, spec: OptimizerSpec) -> None:
        self.spec = spec
        self.rate = tf.Variable(spec.lr, dtype=tf.float32, trainable=False)
        self.step = tf.Variable(0.0, dtype=tf.float32, trainable=False)
        pairs = {name: pair for name, pair in named_variables(model).items() if pair[1].trainable}
        self.params = {name: param for name, (_, param) in pairs.items()}
        self.variables = {name: variable for name, (variable, _) in pairs.items()}
        self.slots = {
            f"{name}/{slot}": tf.Variable(tf.zeros(variable.shape), trainable=False)
            for name, variable in self.variables.items()
            for slot in SLOTS[spec.name]
        }

    @property
    def trained(self) -> list[Any]:
        """The variables, in the order in which `apply` takes gradients."""
        return list(self.variables.values())

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Make one step."""
        self.step.assign_add(1.0)
        update = self._adamw if self.spec.name == "adamw" else self._sgd
        for (name, variable), gradient in zip(self.variables.items(), gradients, strict=True):
            if gradient is not None:
                # Matrices and kernels decay, vectors do not.
                decay = self.spec.weight_decay if len(self.params[name].shape) > 1 else 0.0
                update(name, variable, tf.convert_to_tensor(gradient), decay)

    def _adamw(self, name: str, variable: Any, gradient: tf.Tensor, decay: float) -> None:  # noqa: ANN401
        beta, first, second = self.spec.momentum, self.slots[f"{name}/exp_avg"], self.slots[f"{name}/exp_avg_sq"]
        first.assign(beta * first + (1 - beta) * gradient)
        second.assign(BETA2 * second + (1 - BETA2) * tf.square(gradient))
        size = self.rate / (1 - beta**self.step)
        root = tf.sqrt(second) / tf.sqrt(1 - BETA2**self.step) + EPS
        variable.assign(variable * (1 - self.rate * decay) - size * first / root)

    def _sgd(self, name: str, variable: Any, gradient: tf.Tensor, decay: float) -> None:  # noqa: ANN401
        momentum, buffer = self.spec.momentum, self.slots[f"{name}/momentum_buffer"]
        gradient = gradient + decay * variable
        buffer.assign(momentum * buffer + gradient)
        ahead = gradient + momentum * buffer if momentum else gradient
        variable.assign_sub(self.rate * ahead)


def build_optimizer(model: Model, spec: OptimizerSpec) -> Optimizer:
    """Return the optimizer."""
    return Optimizer(model, spec)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Use `rate` from now on."""
    optimizer.rate.assign(rate)


def optimizer_tensors(model: Model, optimizer: Optimizer) -> dict[str, npt.NDArray[Any]]:
    """Return the optimizer's state as `<parameter>/<slot>` arrays in the canonical layout, as torch names them."""
    step = {f"{name}/step": np.asarray(optimizer.step) for name in optimizer.params if optimizer.spec.name == "adamw"}
    moments = {
        key: to_canonical(np.asarray(slot), optimizer.params[key.rpartition("/")[0]])
        for key, slot in optimizer.slots.items()
    }
    return moments | step if float(optimizer.step) else {}


def fill_optimizer(model: Model, optimizer: Optimizer, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give the optimizer the state that `optimizer_tensors` of either engine returned."""
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        if slot == "step":
            optimizer.step.assign(float(value))
        else:
            optimizer.slots[key].assign(from_canonical(np.asarray(value), optimizer.params[name]))
