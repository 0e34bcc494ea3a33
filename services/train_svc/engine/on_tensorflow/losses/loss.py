"""What all losses on TensorFlow have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import tensorflow as tf

from services.train_svc.engine.losses.forms import check_shapes, outputs_of, require
from services.train_svc.engine.losses.mixing import sides
from services.train_svc.engine.spec import LossSpec

Tensors = Mapping[str, tf.Tensor]


class Loss(ABC):
    """A sum over a batch, and what it is divided by; both can be added up over the pieces of a batch.

    Args:
        spec: which loss, and its settings.
        label_smoothing: share of the target that is spread over all classes.
    """

    def __init__(self, spec: LossSpec, label_smoothing: float) -> None:
        self.spec = spec
        self.smoothing = label_smoothing

    def weight(self, targets: Tensors) -> tf.Tensor:
        """Return how much the batch counts, float32 []: samples, tokens or places, as the loss's class says.

        Raises:
            InvalidError: a target is missing.
        """
        require(self.spec, targets)
        return tf.add_n([_shared(self.counts(side.targets), side.share) for side in sides(targets)])

    def total(self, outputs: Tensors, targets: Tensors) -> tf.Tensor:
        """Return the sum over the batch, float32 [].

        Args:
            outputs: the model's, by name, in any floating-point type.
            targets: by name; with `share`, both samples' of each blend.

        Raises:
            InvalidError: an output or a target is missing, or its shape does not fit.
        """
        check_shapes(self.spec, _shapes(outputs), _shapes(targets))
        scores = [tf.cast(outputs[name], tf.float32) for name in outputs_of(self.spec, outputs)]
        return tf.add_n([_shared(self.of_samples(scores, side.targets), side.share) for side in sides(targets)])

    @abstractmethod
    def counts(self, targets: Tensors) -> tf.Tensor:
        """Return how much each sample counts, float32 [batch]."""

    @abstractmethod
    def of_samples(self, scores: list[tf.Tensor], targets: Tensors) -> tf.Tensor:
        """Return each sample's loss, float32 [batch].

        Args:
            scores: the outputs that the loss reads, float32, in the order of `outputs_of`.
            targets: of one side of a blend.
        """


def sum_of_samples(values: tf.Tensor) -> tf.Tensor:
    """Return the sum of each sample's values, float32 [batch]."""
    return tf.reduce_sum(tf.cast(values, tf.float32), axis=list(range(1, len(values.shape))))


def _shared(values: tf.Tensor, share: tf.Tensor | None) -> tf.Tensor:
    return tf.reduce_sum(values if share is None else values * tf.cast(share, tf.float32))


def _shapes(tensors: Tensors) -> dict[str, tuple[int | None, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
