"""An exponential moving average of a TensorFlow model's weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from services.train_svc.engine.averaging import newest_share
from services.train_svc.engine.on_tensorflow.model import Model
from services.train_svc.engine.on_tensorflow.tensors import (
    fill,
    from_canonical,
    named_tensors,
    named_variables,
    to_canonical,
)


class Ema:
    """average = decay * average + (1 - decay) * weights; as torch's."""

    def __init__(self, model: Model, decay: float) -> None:
        self.decay = decay
        self.share = tf.Variable(1 - decay, dtype=tf.float32, trainable=False)
        self.params = {name: param for name, (_, param) in named_variables(model).items()}
        self.averages = {
            name: tf.Variable(tf.convert_to_tensor(variable), trainable=False)
            for name, (variable, _) in named_variables(model).items()
        }

    def begin(self, step: int) -> None:
        """Use the share of the newest weights that belongs to a step, from now on."""
        self.share.assign(newest_share(self.decay, step))

    def update(self, model: Model) -> None:
        """Take in the weights as they are now, after an optimizer's step."""
        for name, (variable, _) in named_variables(model).items():
            average, now = self.averages[name], tf.convert_to_tensor(variable)
            average.assign(average + self.share * (now - average) if now.dtype.is_floating else now)

    @property
    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The average by canonical name, in the canonical layout."""
        return {name: to_canonical(np.asarray(each), self.params[name]) for name, each in self.averages.items()}

    def copy_to(self, model: Model) -> None:
        """Give a model the average as its weights."""
        fill(model, self.tensors, "the moving average")

    @contextmanager
    def lent_to(self, model: Model) -> Iterator[None]:
        """Let the model hold the average for a while; its own weights come back after."""
        own = {name: np.array(tensor) for name, tensor in named_tensors(model).items()}
        self.copy_to(model)
        try:
            yield
        finally:
            fill(model, own, "the model's own weights")

    def read(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from an average that either engine saved."""
        for name, average in self.averages.items():
            average.assign(from_canonical(np.asarray(tensors[name]), self.params[name]))
