"""The drawn changes of `augment.draws`, made on the device: on TensorFlow what `on_torch.augmenting` makes on torch."""

from collections.abc import Mapping
from itertools import product

import tensorflow as tf

from services.train_svc.engine.augment.scaling import SHARES, Scaling, factors
from services.train_svc.engine.on_tensorflow.block import size_of
from services.train_svc.engine.spec import AugmentSpec

PICTURE_AXES = 4


def augment(
    inputs: Mapping[str, tf.Tensor], draws: Mapping[str, tf.Tensor], spec: AugmentSpec, *, scaling: Scaling = SHARES
) -> dict[str, tf.Tensor]:
    """Return the inputs with the first of them changed as the draws say; arguments as on torch."""
    name = next(iter(inputs))
    x = _changed(inputs[name], draws, "", spec, scaling)
    if "partner" in draws:
        x = _blend(x, _changed(draws["partner"], draws, "partner_", spec, scaling), draws)
    return {**inputs, name: _mask(x, draws)}


def _changed(
    x: tf.Tensor, draws: Mapping[str, tf.Tensor], whose: str, spec: AugmentSpec, scaling: Scaling
) -> tf.Tensor:
    is_bytes = x.dtype == tf.uint8 and len(x.shape) == PICTURE_AXES
    if f"{whose}map" in draws:
        x = resample(x, draws[f"{whose}map"], spec.padding)
    if is_bytes:
        factor, offset = factors(scaling)
        x = tf.cast(x, tf.float32) * factor + offset
    if f"{whose}erase" in draws:
        x = tf.where(_inside(draws[f"{whose}erase"], x), 0.0, tf.cast(x, tf.float32))
    return x


def resample(x: tf.Tensor, maps: tf.Tensor, padding: str) -> tf.Tensor:
    """Return pictures [batch, channels, height, width] read at mapped places; arguments as on torch."""
    count, channels, height, width = (size_of(x, axis) for axis in range(PICTURE_AXES))
    column, row = (tf.range(side, dtype=tf.float32) - _half(side) for side in (width, height))
    across, down = (
        _neighbours(maps[:, axis, :, None, None], column, row[:, None], side, padding)
        for axis, side in enumerate((width, height))
    )
    # Channels last: one read takes all of a pixel's.
    flat, total = tf.reshape(tf.transpose(x, [0, 2, 3, 1]), [count, height * width, channels]), 0.0
    for (i, weight_down), (j, weight_across) in product(down, across):
        index = tf.reshape(i * width + j, [count, height * width])
        found = tf.reshape(tf.gather(flat, index, batch_dims=1), [count, height, width, channels])
        total += tf.cast(found, tf.float32) * (weight_down * weight_across)[..., None]
    return tf.transpose(total, [0, 3, 1, 2])


def _half(side: int | tf.Tensor) -> tf.Tensor:
    return (tf.cast(side, tf.float32) - 1) / 2


def _neighbours(
    row: tf.Tensor, across: tf.Tensor, down: tf.Tensor, side: int | tf.Tensor, padding: str
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Return the two pixels between which each place lies on one axis, and their weights, [batch, height, width]."""
    last = 2 * _half(side)
    place = row[:, 0] * across + row[:, 1] * down + (row[:, 2] + _half(side))
    if padding == "border":
        place = tf.clip_by_value(place, 0.0, last)
    before = tf.floor(place)
    behind = place - before
    return [
        (
            tf.cast(tf.clip_by_value(at, 0.0, last), tf.int32),
            weight * tf.cast((at >= 0) & (at <= last), tf.float32),
        )
        for at, weight in ((before, 1 - behind), (before + 1, behind))
    ]


def _inside(box: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    top, left, bottom, right = (each[:, None] for each in tf.unstack(box, num=4, axis=1))
    row, column = (tf.range(size_of(x, axis)) for axis in (2, 3))
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    return rows[:, None, :, None] & columns[:, None, None, :]


def _covered(bands: tf.Tensor, side: int | tf.Tensor) -> tf.Tensor:
    place = tf.range(side)
    return tf.reduce_any((place >= bands[:, :, :1]) & (place < bands[:, :, 1:]), 1)


def _blend(x: tf.Tensor, partner: tf.Tensor, draws: Mapping[str, tf.Tensor]) -> tf.Tensor:
    if "keep" in draws:
        keep = tf.reshape(draws["keep"], [-1, *[1] * (len(x.shape) - 1)])
        x = x * keep + partner * (1 - keep)
    if "box" in draws:
        x = tf.where(_inside(draws["box"], x), partner, x)
    if "shared" in draws:
        time = _covered(draws["mix_time"], size_of(x, 1))[:, :, None]
        frequency = _covered(draws["mix_frequency"], size_of(x, 2))[:, None, :]
        is_shared = tf.range(size_of(x, 1)) < draws["shared"][:, None]
        x = tf.where((time | frequency) & is_shared[:, :, None], partner, x)
    return x


def _mask(x: tf.Tensor, draws: Mapping[str, tf.Tensor]) -> tf.Tensor:
    if "mask_time" in draws:
        x = tf.where(_covered(draws["mask_time"], size_of(x, 1))[:, :, None], tf.zeros_like(x), x)
    if "mask_frequency" in draws:
        x = tf.where(_covered(draws["mask_frequency"], size_of(x, 2))[:, None, :], tf.zeros_like(x), x)
    return x
