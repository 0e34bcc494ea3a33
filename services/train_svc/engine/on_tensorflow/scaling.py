"""The loss scale of fp16 on TensorFlow, as `on_torch.scaling` has it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from services.train_svc.engine.slots import check_memory
from services.train_svc.engine.spec import Precision

FACTOR = 2.0
"""By which the scale grows, and shrinks."""


class LossScale:
    """Keeps small gradients from vanishing in fp16 (arXiv 1710.03740).

    Args:
        spec: first scale, and growth interval.
    """

    def __init__(self, spec: Precision) -> None:
        self.spec = spec
        self.value = tf.Variable(spec.loss_scale, dtype=tf.float32, trainable=False)
        self.good_steps = tf.Variable(0, dtype=tf.int32, trainable=False)

    def scale(self, loss: tf.Tensor) -> tf.Tensor:
        """Return the loss times the scale."""
        return loss * tf.cast(self.value, loss.dtype)

    def unscale(self, gradients: Sequence[Any]) -> tuple[list[Any], tf.Tensor]:
        """Return the gradients over the scale, and 1.0 where one of them is not finite, else 0.0.

        Args:
            gradients: tensors, sparse or not; None where there is none.
        """
        dense = [None if each is None else tf.convert_to_tensor(each) for each in gradients]
        fine = [tf.reduce_all(tf.math.is_finite(each)) for each in dense if each is not None]
        found = tf.cast(~tf.reduce_all(tf.stack(fine)), tf.float32) if fine else tf.zeros([])
        return [None if each is None else each / tf.cast(self.value, each.dtype) for each in dense], found

    def update(self, found: tf.Tensor) -> None:
        """Halve the scale where `found` is above 0, double it after enough steps where it was not."""
        overflow, value = found > 0, tf.identity(self.value)
        enough = self.good_steps + 1 >= self.spec.growth_interval
        # It never grows to infinity.
        grown = tf.where(enough & tf.math.is_finite(value * FACTOR), value * FACTOR, value)
        self.good_steps.assign(tf.where(overflow | enough, 0, self.good_steps + 1))
        self.value.assign(tf.where(overflow, value / FACTOR, grown))

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return its state: `value` float32 [], `good_steps` int32 []."""
        return {"value": np.asarray(self.value), "good_steps": np.asarray(self.good_steps)}

    def fill(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what `tensors` gave, on this engine or the other.

        Raises:
            InvalidError: it is of something else.
        """
        own = {"value": self.value, "good_steps": self.good_steps}
        given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        check_memory({name: tuple(each.shape) for name, each in own.items()}, given, "precision")
        for name, variable in own.items():
            variable.assign(np.asarray(tensors[name]))
