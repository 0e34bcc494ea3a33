"""Affine maps of pictures: shift, turn, size, mirror image and crop in one, so that pixels are resampled once.

A map leads from a place of the new picture to one of the old, both in pixels from the middle. Its numbers are rounded
to so few bits that float32 computes every place exactly, whatever the order of its sums: two engines, fused or not,
then read the very same places, and differ by the rounding of the blend alone.
"""

import math

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.augment.chances import chance_of
from services.train_svc.engine.spec import AugmentSpec

Floats = npt.NDArray[np.float64]
Maps = npt.NDArray[np.float32]

TRIES = 10
RATIOS = math.log(3 / 4), math.log(4 / 3)
SPARE_BITS = 21
"""Of float32's 24 bits: those left for fractions and sides if places stay within 4 sides and centres are halves."""


def draw_maps(spec: AugmentSpec, count: int, height: int, width: int, *, seed: int, step: int) -> Maps | None:
    """Return an affine map [count, 2, 3] for each picture, rows x and y; None: the spec asks for none.

    Args:
        spec: the largest changes.
        count: pictures.
        height: theirs in pixels.
        width: the same.
        seed: the run's.
        step: which batch.
    """
    if not (spec.shift_pixels or spec.rotate_degrees or spec.scale or spec.flip or spec.crop_scale < 1):
        return None
    maps = _moves(spec, count, chance_of(seed, step, "move"))
    mirrored = chance_of(seed, step, "flip").random(count) < spec.flip
    maps[mirrored, :, 0] *= -1
    if spec.crop_scale < 1:
        sizes, middles = _crops(spec.crop_scale, count, (width, height), chance_of(seed, step, "crop"))
        maps *= sizes[:, :, None]
        maps[:, :, 2] += middles
    return _rounded(maps, max(height, width))


def _moves(spec: AugmentSpec, count: int, chance: np.random.Generator) -> Floats:
    turn, size, across, down = chance.uniform(-1, 1, (4, count))
    angle, factor = turn * math.radians(spec.rotate_degrees), 1 + size * spec.scale
    cosine, sine = np.cos(angle) * factor, np.sin(angle) * factor
    across, down = across * spec.shift_pixels, down * spec.shift_pixels
    return np.stack([cosine, -sine, across, sine, cosine, down], 1).reshape(count, 2, 3)


def _crops(least: float, count: int, sides: tuple[int, int], chance: np.random.Generator) -> tuple[Floats, Floats]:
    """Return sizes as shares of the sides, and middles in pixels from the picture's middle: [count, 2], x and y.

    Area and log-uniform ratio 3/4 to 4/3 (Szegedy et al. 2015) are tried ten times; then it is the largest crop of
    such a ratio, in the middle.
    """
    width, height = sides
    area = chance.uniform(least, 1, (count, TRIES)) * width * height
    ratio = np.exp(chance.uniform(*RATIOS, (count, TRIES)))
    tried = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], 2)
    fits: npt.NDArray[np.bool_] = np.all(tried <= (width, height), axis=2)
    found, widest = np.any(fits, axis=1)[:, None], math.exp(RATIOS[1])
    largest = np.array([min(width, height * widest), min(height, width * widest)])
    first = tried[np.arange(count), fits.argmax(1)]
    crops = np.where(found, first, largest)
    room = (np.array(sides) - crops) / 2
    middles = chance.uniform(-1, 1, (count, 2)) * room * found
    return crops / sides, middles


def _rounded(maps: Floats, side: int) -> Maps:
    scale = 2.0 ** (SPARE_BITS - math.ceil(math.log2(max(side, 2))))
    shifts = np.round(maps[:, :, 2:].clip(-2 * side, 2 * side) * scale * 2) / (scale * 2)
    return np.concatenate([np.round(maps[:, :, :2] * scale) / scale, shifts], 2).astype(np.float32)


def move_labels(labels: npt.NDArray[np.integer], maps: Maps, outside: int) -> npt.NDArray[np.integer]:
    """Return labels of single pixels moved as their pictures are: each is that of the nearest old pixel.

    Args:
        labels: [batch, height, width].
        maps: of `draw_maps`.
        outside: the label of what comes in at the edges.
    """
    count, height, width = labels.shape
    row, column = np.ogrid[:height, :width]
    y, x = row - (height - 1) / 2, column - (width - 1) / 2
    found = np.full_like(labels, outside)
    for sample in range(count):
        across, down = (
            np.floor(each[0] * x + each[1] * y + each[2] + (side - 1) / 2 + 0.5).astype(np.int64)
            for each, side in zip(maps[sample].astype(np.float64), (width, height), strict=True)
        )
        inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
        found[sample][inside] = labels[sample][down[inside], across[inside]]
    return found
