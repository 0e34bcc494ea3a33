"""Distance of numbers, on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.on_tensorflow.losses.loss import Loss, Tensors, sum_of_samples


class Regression(Loss):
    """Squared, absolute or Huber's error (1964; delta 1) of each number; it is divided by the numbers that count.

    `labels` have the output's shape. With a target `mask` of the same shape, only numbers where it is not 0 count; the
    others may be nan.
    """

    def counts(self, targets: Tensors) -> tf.Tensor:
        """Return how many numbers of each sample count."""
        mask = targets.get("mask")
        return sum_of_samples(tf.ones_like(targets["labels"]) if mask is None else tf.cast(mask, tf.bool))

    def of_samples(self, scores: list[tf.Tensor], targets: Tensors) -> tf.Tensor:
        """Return each sample's sum."""
        error = scores[0] - tf.cast(targets["labels"], tf.float32)
        mask = targets.get("mask")
        if mask is not None:
            error = tf.where(tf.cast(mask, tf.bool), error, 0.0)
        return sum_of_samples(self._of_errors(error))

    def _of_errors(self, error: tf.Tensor) -> tf.Tensor:
        size = tf.abs(error)
        if self.spec.form == "huber":
            return tf.where(size < 1, tf.square(error) / 2, size - 0.5)
        return size if self.spec.form == "absolute" else tf.square(error)
