"""Cross entropy of classes, places and pixels, on TensorFlow."""

import tensorflow as tf

from services.train_svc.engine.on_tensorflow.losses.loss import Loss, Tensors, sum_of_samples


def cross_entropy(scores: tf.Tensor, labels: tf.Tensor, *, ignored: int, smoothing: float) -> tf.Tensor:
    """Return the cross entropy of each place in nats, float32 in the labels' shape; 0 where the label is `ignored`.

    Args:
        scores: float32, before the softmax, classes along the last axis.
        labels: the shape of the scores without the last axis; below the number of classes, or `ignored`.
        ignored: label of places that count for nothing.
        smoothing: share of the target that is spread evenly over all classes (Szegedy et al. 2015, arXiv 1512.00567).
    """
    counted = labels != ignored
    places = tf.where(counted, labels, tf.zeros_like(labels))
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(places, scores)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * tf.reduce_mean(tf.nn.log_softmax(scores), -1)
    return tf.where(counted, losses, 0.0)


class CrossEntropy(Loss):
    """Cross entropy of scores [batch, classes] or [batch, time, classes]; it is divided by the labels that count."""

    def counts(self, targets: Tensors) -> tf.Tensor:
        """Return how many labels of each sample count."""
        return sum_of_samples(targets["labels"] != self.spec.ignored)

    def of_samples(self, scores: list[tf.Tensor], targets: Tensors) -> tf.Tensor:
        """Return each sample's sum."""
        labels, ignored = targets["labels"], self.spec.ignored
        return sum_of_samples(cross_entropy(scores[0], labels, ignored=ignored, smoothing=self.smoothing))


class Segmentation(CrossEntropy):
    """Cross entropy of pixels, the scores [batch, classes, h, w] enlarged to the labels [batch, height, width].

    They are enlarged between the centres of pixels.
    """

    def of_samples(self, scores: list[tf.Tensor], targets: Tensors) -> tf.Tensor:
        """Return each picture's sum."""
        size = tf.shape(targets["labels"])[1:]
        large = tf.image.resize(tf.transpose(scores[0], [0, 2, 3, 1]), size, "bilinear")
        return super().of_samples([large], targets)
