"""Cross entropy of a linear layer's scores on TensorFlow without holding them all."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

CHUNK_BYTES = 2**27
"""Of a chunk's scores in float32, where the caller gives no size."""
Tensor = Any
Gradients = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    *,
    places: Tensor | None = None,
    ignored: int = -100,
    label_smoothing: float = 0.0,
    chunk: int = 0,
) -> Tensor:
    """Return the sum over all places of the cross entropy between `hidden weight^T + bias` and the labels.

    As `on_torch.memory.cross_entropy`: a chunk of places at a time is scored, and its gradient computed at once, so
    that the scores [places, vocabulary] never exist whole. Products are in hidden's format, all else is in float32.

    Args:
        hidden: [..., features].
        weight: [vocabulary, features], in the canonical layout.
        bias: [vocabulary], or None.
        labels: [...] int64.
        places: int64 [n], which places of the flattened labels are computed at all; each with a label must be among
            them once (`labelled_places`). None: all.
        ignored: the label of places that count for nothing.
        label_smoothing: share of the target that is spread over the vocabulary.
        chunk: places at a time; 0: as many as make scores of 128 MiB.

    Returns:
        [] float32.
    """
    hidden, labels = tf.reshape(hidden, [-1, hidden.shape[-1]]), tf.reshape(labels, [-1])
    if places is not None:
        hidden, labels = tf.gather(hidden, places), tf.gather(labels, places)
    rows = chunk or max(1, CHUNK_BYTES // (4 * int(weight.shape[0])))
    added = tf.zeros([weight.shape[0]]) if bias is None else bias

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def total(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Gradients]:
        loss, kept = _in_chunks((hidden, weight, bias), labels, rows, (ignored, label_smoothing))

        def gradients(upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            first, second, third = (
                tf.cast(each * upstream, like.dtype) for each, like in zip(kept, (hidden, weight, bias), strict=True)
            )
            return first, second, third

        return loss, gradients

    return total(hidden, tf.convert_to_tensor(weight), tf.convert_to_tensor(added))


def _in_chunks(
    tensors: tuple[Tensor, Tensor, Tensor], labels: Tensor, rows: int, how: tuple[int, float]
) -> tuple[Tensor, list[Tensor]]:
    # The sum, and the gradients in float32 of hidden, weight and bias. A loop of the graph, as the number of chunks
    # may differ from batch to batch.
    hidden, weight, bias = tensors
    matrix, count = tf.cast(weight, hidden.dtype), tf.shape(hidden)[0]
    chunks = (count + rows - 1) // rows
    of_hidden = tf.TensorArray(tf.float32, size=chunks, infer_shape=False, element_shape=[None, hidden.shape[-1]])

    def one(index: Tensor, loss: Tensor, first: Tensor, second: Tensor, third: Tensor) -> tuple[Tensor, ...]:
        part = slice(index * rows, tf.minimum(count, (index + 1) * rows))
        mine = hidden[part]
        scores = tf.cast(tf.matmul(mine, matrix, transpose_b=True), tf.float32) + tf.cast(bias, tf.float32)
        added, gradient = _scored(scores, labels[part], *how)
        small = tf.cast(gradient, hidden.dtype)
        first = first.write(index, tf.cast(tf.matmul(small, matrix), tf.float32))
        second += tf.cast(tf.matmul(small, mine, transpose_a=True), tf.float32)
        return index + 1, loss + added, first, second, third + tf.reduce_sum(gradient, 0)

    start = (0, 0.0, of_hidden, tf.zeros(weight.shape), tf.zeros(bias.shape))
    _, loss, first, second, third = tf.while_loop(lambda index, *_: index < chunks, one, start, parallel_iterations=1)
    return loss, [tf.reshape(first.concat(), tf.shape(hidden)), second, third]


def _scored(scores: Tensor, labels: Tensor, ignored: int, smoothing: float) -> tuple[Tensor, Tensor]:
    # The loss's sum over a chunk, and its gradient [places, vocabulary] in float32.
    real = tf.cast(labels != ignored, tf.float32)
    target = tf.one_hot(tf.where(labels == ignored, tf.zeros_like(labels), labels), scores.shape[-1])
    target = target * (1 - smoothing) + smoothing / scores.shape[-1]
    logarithms = tf.nn.log_softmax(scores)
    loss = tf.reduce_sum(real * -tf.reduce_sum(target * logarithms, -1))
    return loss, (tf.exp(logarithms) - target) * real[:, None]
