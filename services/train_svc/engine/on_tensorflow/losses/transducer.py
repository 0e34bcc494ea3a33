"""RNN-T on TensorFlow (Graves 2012, arXiv 1211.3711).

All alignments are paths through a lattice of nodes (t, u): blank goes on to the next frame, a label stays in it. The
nodes of one anti-diagonal t + u depend on those of the one before alone, so the loop goes over anti-diagonals; forward
and backward variables run in it together, the backward ones as the forward ones of the lattice turned round, in log
space and float64. What the gradient needs is kept as two numbers a node.
"""

from typing import Any

import tensorflow as tf

from services.train_svc.engine.on_tensorflow.losses.lattices import NEVER, add, padded, probability
from services.train_svc.engine.on_tensorflow.losses.loss import Loss, Tensors


class Transducer(Loss):
    """-log P(labels) of scores [batch, time, label + 1, tokens]; it is divided by the number of samples.

    Scores of node (t, u) are what the model gives in frame t after u labels. A sample without frames has an infinite
    loss; `check_targets` names it beforehand.
    """

    def counts(self, targets: Tensors) -> tf.Tensor:
        """Return 1 for each sample."""
        return tf.ones_like(targets["label_lengths"], tf.float32)

    def of_samples(self, scores: list[tf.Tensor], targets: Tensors) -> tf.Tensor:
        """Return each sample's loss."""
        lengths = targets["frame_lengths"], targets["label_lengths"]
        return transducer_losses(scores[0], targets["labels"], *lengths, self.spec.blank)


def transducer_losses(
    scores: tf.Tensor, labels: tf.Tensor, frame_lengths: tf.Tensor, label_lengths: tf.Tensor, blank: int
) -> tf.Tensor:
    """Return -log P(labels | scores) of each sample, float32 [batch]; infinite, its gradient zero, if there is no path.

    Args:
        scores: [batch, time, label + 1, tokens] float32, before the softmax.
        labels: [batch, label] without blank; what lies behind a sample's length is not looked at.
        frame_lengths: [batch], frames that count.
        label_lengths: [batch].
        blank: the token that goes on to the next frame.
    """
    frames, lengths = (tf.cast(each, tf.int32)[:, None, None] for each in (frame_lengths, label_lengths))

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def aligned(scores: tf.Tensor) -> Any:  # noqa: ANN401 - a tensor and a function
        norms = tf.reduce_logsumexp(scores, -1)
        names = _names(tf.cast(labels, tf.int32), lengths, blank, tf.shape(scores)[1])
        picked = scores[..., blank], tf.gather(scores, names, batch_dims=3)
        onward, emitted = (tf.cast(each, tf.float64) - tf.cast(norms, tf.float64) for each in picked)
        losses, blanks, labelled = _walk(*_lattice(onward, emitted, frames, lengths), frames)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            through = tf.exp(scores - norms[..., None]) * (blanks + labelled)[..., None]
            less = tf.tensor_scatter_nd_sub(through, _indices(tf.fill(tf.shape(names), blank)), blanks)
            less = tf.tensor_scatter_nd_sub(less, _indices(names), labelled)
            return less * upstream[:, None, None, None]

        return losses, gradient

    return aligned(scores)


def _names(labels: tf.Tensor, lengths: tf.Tensor, blank: int, time: tf.Tensor) -> tf.Tensor:
    # The label that each node may write, blank where there is none: [batch, time, label + 1].
    longer = tf.pad(labels, [[0, 0], [0, 1]])[:, None]
    names = tf.where(tf.range(tf.shape(longer)[2]) < lengths, longer, blank)
    return tf.tile(names, [1, time, 1])


def _lattice(
    onward: tf.Tensor, emitted: tf.Tensor, frames: tf.Tensor, labels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    # Log weights of the arcs from nodes [batch, time + 1, label + 1]. Behind a sample's end one free path leads to the
    # last corner, so that all samples end there.
    _, time, width = tf.unstack(tf.shape(onward))
    t, u = tf.range(time + 1)[:, None], tf.range(width)
    onward, emitted = (tf.pad(each, [[0, 0], [0, 1], [0, 0]]) for each in (onward, emitted))
    free = tf.where((t >= frames) & (u == labels), tf.zeros_like(onward), NEVER)
    stay = tf.where((t < frames) & (u <= labels), onward, free)
    free = tf.where((t == time) & (u >= labels), tf.zeros_like(onward), NEVER)
    step = tf.where((t < frames) & (u < labels), emitted, free)
    return stay, tf.where(u < width - 1, step, NEVER)


def _walk(stay: tf.Tensor, step: tf.Tensor, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    # Losses [batch], and the probabilities of going through each node's blank and label [batch, time, label + 1].
    batch, time = tf.shape(stay)[0], tf.shape(stay)[1] - 1
    stay, step = (_by_diagonal(each)[:-1] for each in (stay, step))
    paths = _forward(
        tf.concat([stay, tf.reverse(stay, [0, 2])], 1),
        padded(tf.concat([step[..., :-1], tf.reverse(step[..., :-1], [0, 2])], 1), 1, 0),
    )
    alpha, beta = paths[:, :batch], tf.reverse(paths[:, batch:], [0, 2])
    total = alpha[-1, :, -1:]
    inside = tf.range(time)[:, None] < frames

    def share(arcs: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        taken = probability(alpha[:-1] + arcs + after - total, tf.math.is_finite(total))
        return tf.cast(tf.where(inside, _by_frame(taken, time), 0.0), tf.float32)

    blanks, labelled = share(stay, beta[1:]), share(step, padded(beta[1:, :, 1:], 0, 1))
    return -tf.cast(total[:, 0], tf.float32), blanks, labelled


def _forward(ways: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
    # Forward variables [diagonals + 1, rows, label + 1] of arcs [diagonals, rows, label + 1].
    first = tf.where(tf.range(tf.shape(ways)[2]) == 0, tf.zeros_like(ways[0]), NEVER)

    def step(before: tf.Tensor, arcs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        way, label = arcs
        return add(before + way, padded(before, 1, 0)[:, :-1] + label)

    return tf.concat([first[None], tf.scan(step, (ways, steps), first)], 0)


def _by_diagonal(nodes: tf.Tensor) -> tf.Tensor:
    # [batch, time, label] as [time + label - 1, batch, label]: column u moves down by u.
    batch, time, width = tf.unstack(tf.shape(nodes))
    columns = tf.pad(tf.transpose(nodes, [0, 2, 1]), [[0, 0], [0, 0], [0, width]], constant_values=NEVER)
    flat = tf.reshape(columns, [batch, width * (time + width)])[:, : width * (time + width - 1)]
    return tf.transpose(tf.reshape(flat, [batch, width, time + width - 1]), [2, 0, 1])


def _by_frame(diagonals: tf.Tensor, time: tf.Tensor) -> tf.Tensor:
    # The other way: [batch, time, label].
    count, batch, width = tf.unstack(tf.shape(diagonals))
    flat = tf.reshape(tf.transpose(diagonals, [1, 2, 0]), [batch, width * count])
    columns = tf.reshape(tf.pad(flat, [[0, 0], [0, width]]), [batch, width, count + 1])
    return tf.transpose(columns[:, :, :time], [0, 2, 1])


def _indices(names: tf.Tensor) -> tf.Tensor:
    grid = tf.meshgrid(*(tf.range(size) for size in tf.unstack(tf.shape(names))), indexing="ij")
    return tf.stack([*grid, names], -1)
