"""Augmentation as slow loops, and both engines behind one call."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.augment.scaling import SHARES, Shares
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.spec import AugmentSpec

Array = npt.NDArray[Any]
Engine = Callable[..., dict[str, Array]]


def on_torch(batch: Batch, spec: AugmentSpec, scaling: Shares = SHARES) -> dict[str, Array]:
    import torch

    from services.train_svc.engine.on_torch.augmenting import augment

    inputs, draws = ({name: torch.from_numpy(np.array(x)) for name, x in part.items()} for part in parts(batch))
    return {name: x.numpy() for name, x in augment(inputs, draws, spec, scaling=scaling).items()}


def on_tensorflow(batch: Batch, spec: AugmentSpec, scaling: Shares = SHARES) -> dict[str, Array]:
    import tensorflow as tf

    inputs, draws = ({name: tf.constant(x) for name, x in part.items()} for part in parts(batch))
    return {name: x.numpy() for name, x in traced(spec, scaling)(inputs, draws).items()}


@lru_cache
def traced(spec: AugmentSpec, scaling: Shares) -> Any:
    import tensorflow as tf

    from services.train_svc.engine.on_tensorflow.augmenting import augment

    # Of batches of different sizes it makes one graph for any size.
    return tf.function(lambda inputs, draws: augment(inputs, draws, spec, scaling=scaling), reduce_retracing=True)


def parts(batch: Batch) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
    return batch.inputs, batch.draws


ENGINES = [on_torch, on_tensorflow]


def sampled(picture: Array, affine: Array, padding: str) -> Array:
    """Return [channels, height, width] read at mapped places, one pixel after the other, in float64."""
    channels, height, width = picture.shape
    found = np.zeros((channels, height, width))
    for row in range(height):
        for column in range(width):
            place = affine.astype(np.float64) @ [column - (width - 1) / 2, row - (height - 1) / 2, 1]
            x, y = place[0] + (width - 1) / 2, place[1] + (height - 1) / 2
            if padding == "border":
                x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
            for i in (int(np.floor(y)), int(np.floor(y)) + 1):
                for j in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        weight = (1 - abs(y - i)) * (1 - abs(x - j))
                        found[:, row, column] += weight * picture[:, i, j].astype(np.float64)
    return found


def changed(batch: Batch, spec: AugmentSpec, scaling: Shares = SHARES) -> Array:
    """Return the batch's first input as it has to come out, sample after sample."""
    x = next(iter(batch.inputs.values()))
    return np.stack([_mixed(batch, spec, scaling, sample) for sample in range(len(x))])


def _single(raw: Array, whose: str, batch: Batch, sample: int, looks: tuple[AugmentSpec, Shares]) -> Array:
    spec, scaling = looks
    x = raw.astype(np.float64)
    if whose + "map" in batch.draws:
        x = sampled(raw, batch.draws[whose + "map"][sample], spec.padding)
    if raw.dtype == np.uint8:
        mean, std = (np.array(values).reshape(-1, 1, 1) for values in (scaling.mean, scaling.std))
        x = (x / 255 - mean) / std
    if whose + "erase" in batch.draws:
        top, left, bottom, right = batch.draws[whose + "erase"][sample]
        x[:, top:bottom, left:right] = 0
    return x


def _mixed(batch: Batch, spec: AugmentSpec, scaling: Shares, sample: int) -> Array:
    draws = batch.draws
    x = _single(next(iter(batch.inputs.values()))[sample], "", batch, sample, (spec, scaling))
    if "partner" in draws:
        partner = _single(draws["partner"][sample], "partner_", batch, sample, (spec, scaling))
        if "keep" in draws:
            x = x * draws["keep"][sample] + partner * (1 - draws["keep"][sample])
        if "box" in draws:
            top, left, bottom, right = draws["box"][sample]
            x[:, top:bottom, left:right] = partner[:, top:bottom, left:right]
        if "shared" in draws:
            shared = draws["shared"][sample]
            for start, end in draws["mix_time"][sample]:
                x[start:end] = partner[start:end]
            for start, end in draws["mix_frequency"][sample]:
                x[:shared, start:end] = partner[:shared, start:end]
    for start, end in draws.get("mask_time", np.zeros((len(batch), 0, 2)))[sample]:
        x[start:end] = 0
    for start, end in draws.get("mask_frequency", np.zeros((len(batch), 0, 2)))[sample]:
        x[:, start:end] = 0
    return x
