"""An exponential moving average of a TensorFlow model's weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from services.train_svc.engine.on_tensorflow.model import Model
from services.train_svc.engine.on_tensorflow.tensors import fill, from_canonical, named_variables, to_canonical


class Ema:
    """average = decay * average + (1 - decay) * weights; as torch's."""

    def __init__(self, model: Model, decay: float) -> None:
        self.decay = decay
        self.params = {name: param for name, (_, param) in named_variables(model).items()}
        self.averages = {
            name: tf.Variable(tf.convert_to_tensor(variable), trainable=False)
            for name, (variable, _) in named_variables(model).items()
        }

    def update(self, model: Model) -> None:
        """Take in the weights as they are now, after an optimizer's step."""
        for name, (variable, _) in named_variables(model).items():
            average, now = self.averages[name], tf.convert_to_tensor(variable)
            average.assign(average + (1 - self.decay) * (now - average) if now.dtype.is_floating else now)

    @property
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The average by canonical name, in the canonical layout."""
        return {name: to_canonical(np.asarray(each), self.params[name]) for name, each in self.averages.items()}

    def copy_to(self, model: Model) -> None:
        """Give a model the average as its weights."""
        fill(model, self.tensors, "the moving average")

    def read(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from an average that either engine saved."""
        for name, average in self.averages.items():
            average.assign(from_canonical(np.asarray(tensors[name]), self.params[name]))
