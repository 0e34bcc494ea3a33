"""What the sums over alignments have in common on TensorFlow: probabilities in log space and float64."""

import tensorflow as tf

NEVER = float("-inf")
"""Log of the probability of what cannot be."""


def add(*logs: tf.Tensor) -> tf.Tensor:
    """Return the log of the sum of probabilities whose logs are given; `NEVER` where all are."""
    most = logs[0]
    for each in logs[1:]:
        most = tf.maximum(most, each)
    most = tf.where(tf.math.is_finite(most), most, 0.0)
    return tf.math.log(tf.add_n([tf.exp(each - most) for each in logs])) + most


def padded(logs: tf.Tensor, before: int, after: int) -> tf.Tensor:
    """Return logs [..., width] with columns of `NEVER` before and after."""
    paddings = [[0, 0]] * (len(logs.shape) - 1) + [[before, after]]
    return tf.pad(logs, paddings, constant_values=NEVER)


def probability(logs: tf.Tensor, possible: tf.Tensor) -> tf.Tensor:
    """Return the probabilities of logs, 0 where something is not possible, whatever its log."""
    return tf.exp(tf.where(possible, logs, NEVER))
