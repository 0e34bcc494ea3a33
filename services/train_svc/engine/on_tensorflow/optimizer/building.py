"""The optimizer of a spec on TensorFlow."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from services.common.errors import InvalidError
from services.train_svc.engine.architecture.node import Param
from services.train_svc.engine.on_tensorflow.block import LAYOUTS
from services.train_svc.engine.on_tensorflow.optimizer.rules import RULES, Moved
from services.train_svc.engine.on_tensorflow.tensors import named_variables
from services.train_svc.engine.slots import factored_axes, slot_shapes
from services.train_svc.engine.spec import OptimizerSpec


class Optimizer:
    """AdamW, SGD, Lion or Adafactor as torch computes them.

    Args:
        model: whose trainable variables it moves.
        spec: which optimizer, and its settings.

    Raises:
        InvalidError: no variable is trainable, or the optimizer does not run on TensorFlow.
    """

    def __init__(self, model: Any, spec: OptimizerSpec) -> None:  # noqa: ANN401 - as `build_optimizer`
        if spec.name not in RULES:
            message = f"{spec.name} runs on torch alone; wanted one of {', '.join(RULES)}, or `engine: torch`"
            raise InvalidError(message, field="optimizer")
        pairs = {name: pair for name, pair in named_variables(model).items() if pair[1].trainable}
        if not pairs:
            message = "no variable of the model is trainable; set `trainable` on the layers that shall learn"
            raise InvalidError(message, field="model")
        self.spec = spec
        self.rate = tf.Variable(spec.lr, dtype=tf.float32, trainable=False)
        self.step = tf.Variable(0.0, dtype=tf.float32, trainable=False)
        self.params = {name: param for name, (_, param) in pairs.items()}
        self.variables = {name: variable for name, (variable, _) in pairs.items()}
        self.shapes = {name: slot_shapes(spec, param.shape) for name, param in self.params.items()}
        self.slots = {
            f"{name}/{slot}": tf.Variable(tf.zeros(_here(shape, self.params[name])), trainable=False)
            for name, shapes in self.shapes.items()
            for slot, shape in shapes.items()
            # One counter serves all.
            if slot != "step"
        }

    @property
    def trained(self) -> list[Any]:
        """The variables, in the order in which `apply` takes gradients."""
        return list(self.variables.values())

    def apply(self, gradients: Sequence[Any], skip: tf.Tensor | None = None) -> None:
        """Make one step.

        Args:
            gradients: of `trained`, in its order; None leaves a variable as it is.
            skip: a scalar; where it is above 0, weights, moments and counter stay as they are, whatever the gradients
                hold. None: the step is made.
        """
        step = self.step + 1.0
        for name, gradient in zip(self.variables, gradients, strict=True):
            if gradient is not None:
                self._move(name, tf.convert_to_tensor(gradient), step, skip)
        _write(self.step, step, skip)

    def _move(self, name: str, gradient: tf.Tensor, step: tf.Tensor, skip: tf.Tensor | None) -> None:
        param, variable = self.params[name], self.variables[name]
        slots = {slot: self.slots[f"{name}/{slot}"] for slot in self.shapes[name] if slot != "step"}
        # Matrices and kernels decay, vectors do not.
        decay = self.spec.weight_decay if len(param.shape) > 1 else 0.0
        at = Moved(spec=self.spec, rate=tf.identity(self.rate), step=step, decay=decay, axes=_axes(param))
        now = {slot: tf.convert_to_tensor(value) for slot, value in slots.items()}
        moved, after = RULES[self.spec.name](tf.convert_to_tensor(variable), gradient, now, at)
        _write(variable, moved, skip)
        for slot, value in after.items():
            _write(slots[slot], value, skip)


def _write(variable: Any, value: tf.Tensor, skip: tf.Tensor | None) -> None:  # noqa: ANN401 - Keras has no types
    variable.assign(value if skip is None else tf.where(skip > 0, tf.convert_to_tensor(variable), value))


def _here(shape: tuple[int, ...], param: Param) -> tuple[int, ...]:
    axes = LAYOUTS.get(param.layout)
    return tuple(shape[axis] for axis in axes) if axes else shape


def _axes(param: Param) -> tuple[int, int] | None:
    # In the canonical order, so that the slots are torch's, at their places here.
    axes, layout = factored_axes(param.shape), LAYOUTS.get(param.layout)
    return (layout.index(axes[0]), layout.index(axes[1])) if axes and layout else axes


def build_optimizer(model: Any, spec: OptimizerSpec) -> Optimizer:  # noqa: ANN401 - ours, or a user's Keras model
    """Return the optimizer of a model, ours or a user's own of Keras; arguments and errors as `Optimizer`."""
    return Optimizer(model, spec)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Use `rate` from now on."""
    optimizer.rate.assign(rate)
