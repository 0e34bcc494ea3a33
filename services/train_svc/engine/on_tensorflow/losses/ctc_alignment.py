"""The sum over all alignments of CTC, and its gradient, on TensorFlow (Graves et al. 2006, section 4).

Forward and backward variables run in one loop over time, the backward ones as the forward ones of the reversed sample,
in log space and float64. `tf.nn.ctc_loss` is not used: it gives a finite number where labels cannot be aligned, its
operator has no XLA form and is another one on GPUs, and its blank and padding follow other rules.
"""

from typing import Any

import tensorflow as tf

from services.train_svc.engine.on_tensorflow.losses.lattices import NEVER, add, padded, probability


def ctc_losses(
    scores: tf.Tensor, labels: tf.Tensor, frame_lengths: tf.Tensor, label_lengths: tf.Tensor, blank: int
) -> tf.Tensor:
    """Return -log P(labels | scores) of each sample, float32 [batch]; infinite where they cannot be aligned.

    A sample with an infinite loss has a gradient of zero.

    Args:
        scores: [batch, time, tokens] float32, before the softmax.
        labels: [batch, label] without blank; what lies behind a sample's length is not looked at.
        frame_lengths: [batch], frames that count.
        label_lengths: [batch].
        blank: the token that stands for nothing.
    """
    frames, lengths = tf.cast(frame_lengths, tf.int32), tf.cast(label_lengths, tf.int32)
    tokens = _tokens(tf.cast(labels, tf.int32), lengths, blank)

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def aligned(scores: tf.Tensor) -> Any:  # noqa: ANN401 - a tensor and a function
        norms = tf.reduce_logsumexp(scores, -1)
        places = tf.tile(tokens[:, None], [1, tf.shape(scores)[1], 1])
        picked = tf.gather(scores, places, batch_dims=2)
        logs = tf.cast(picked, tf.float64) - tf.cast(norms, tf.float64)[:, :, None]
        losses, shares = _expected(logs, tokens, frames, lengths)
        same = tf.cast(tokens[:, :, None] == tokens[:, None, :], tf.float64)
        merged = tf.cast(shares @ same, tf.float32)
        counted = tf.sequence_mask(frames, tf.shape(scores)[1]) & tf.math.is_finite(losses)[:, None]

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            softmax = tf.exp(scores - tf.where(counted, norms, float("inf"))[:, :, None])
            wanted = tf.gather(softmax, places, batch_dims=2) - merged
            # A token that stands twice among the labels is written twice, and the same.
            return tf.tensor_scatter_nd_update(softmax, _indices(places), wanted) * upstream[:, None, None]

        return tf.cast(losses, tf.float32), gradient

    return aligned(scores)


def _expected(picked: tf.Tensor, tokens: tf.Tensor, frames: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
    # Of log probabilities [batch, time, 1 + label] of blank and labels: losses, and what each frame is spent on.
    batch, time, width = tf.unstack(tf.shape(picked))
    state, frame = tf.range(2 * width - 1), tf.range(time)
    # States are blank, label, blank, label ... blank.
    place = tf.where(state % 2 == 1, (state + 1) // 2, 0)
    logs, names = tf.gather(picked, place, axis=2), tf.gather(tokens, place, axis=1)
    back_frame = tf.maximum(frames[:, None] - 1 - frame, 0)
    back_state = tf.maximum(2 * labels[:, None] - state, 0)

    def turned(values: tf.Tensor) -> tf.Tensor:
        moved = tf.gather(values, back_frame, batch_dims=1)
        return tf.gather(moved, back_state, axis=2, batch_dims=1)

    both = tf.transpose(tf.concat([logs, turned(logs)], 0), [1, 0, 2])
    skips = _skips(tf.concat([names, tf.gather(names, back_state, batch_dims=1)], 0))
    paths = tf.transpose(_forward(both, skips), [1, 0, 2])
    alpha, beta = paths[:batch], turned(paths[batch:])
    total = _total(alpha, frames, labels)
    possible = tf.sequence_mask(frames, time)[:, :, None] & (state <= 2 * labels[:, None])[:, None]
    possible &= tf.math.is_finite(logs) & tf.math.is_finite(total)[:, None, None]
    share = probability(alpha + beta - logs - total[:, None, None], possible)
    return -total, tf.concat([tf.reduce_sum(share[:, :, 0::2], 2, keepdims=True), share[:, :, 1::2]], 2)


def _total(alpha: tf.Tensor, frames: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    # The last blank or the last label at the last frame, [batch]; without frames only no labels are possible.
    ends = padded(tf.gather(alpha, tf.maximum(frames - 1, 0), batch_dims=1), 1, 0)
    end = 2 * labels + 1
    total = add(tf.gather(ends, end, batch_dims=1), tf.gather(ends, end - 1, batch_dims=1))
    empty = tf.where(labels == 0, tf.zeros_like(total), NEVER)
    return tf.where(frames > 0, total, empty)


def _forward(logs: tf.Tensor, skips: tf.Tensor) -> tf.Tensor:
    # Forward variables [time, rows, states] of log probabilities [time, rows, states].
    first = tf.where(tf.range(tf.shape(logs)[2]) < 2, logs[0], NEVER)  # noqa: PLR2004 - the first blank and label

    def step(before: tf.Tensor, now: tf.Tensor) -> tf.Tensor:
        wide = padded(before, 2, 0)
        return add(wide[:, 2:], wide[:, 1:-1], wide[:, :-2] + skips) + now

    return tf.concat([first[None], tf.scan(step, logs[1:], first)], 0)


def _skips(names: tf.Tensor) -> tf.Tensor:
    # 0 where a state may follow the one two before it: a label after another one. [rows, states].
    odd = tf.range(tf.shape(names)[1]) % 2 == 1
    other = tf.pad(names, [[0, 0], [2, 0]], constant_values=-1)[:, :-2]
    return tf.where(odd & (names != other), tf.constant(0, tf.float64), NEVER)


def _tokens(labels: tf.Tensor, lengths: tf.Tensor, blank: int) -> tf.Tensor:
    # Blank and the labels, blank behind their end. [batch, 1 + label].
    real = tf.where(tf.sequence_mask(lengths, tf.shape(labels)[1]), labels, blank)
    return tf.pad(real, [[0, 0], [1, 0]], constant_values=blank)


def _indices(places: tf.Tensor) -> tf.Tensor:
    batch, time, width = tf.unstack(tf.shape(places))
    rows = tf.meshgrid(tf.range(batch), tf.range(time), tf.range(width), indexing="ij")
    return tf.stack([rows[0], rows[1], places], -1)
