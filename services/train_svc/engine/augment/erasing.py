"""Random rectangles of pictures that are blanked (RandomErasing, Zhong et al. 2017, arXiv 1708.04896)."""

import math

import numpy as np
import numpy.typing as npt

AREAS = 0.02, 0.33
RATIOS = math.log(0.3), math.log(3.3)
TRIES = 10


def draw_rectangles(
    probability: float, count: int, height: int, width: int, chance: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Return top, left, bottom and right (without the last two) of a rectangle in each picture: int32 [count, 4].

    Area 0.02 to 0.33 of the picture, log-uniform height to width 0.3 to 3.3, tried ten times until one is smaller
    than the picture on both sides. All zero: nothing is blanked, with 1 - `probability`.
    """
    area = chance.uniform(*AREAS, (count, TRIES)) * height * width
    ratio = np.exp(chance.uniform(*RATIOS, (count, TRIES)))
    tried = np.stack([np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))], 2).astype(np.int64)
    fits: npt.NDArray[np.bool_] = np.all(tried < (height, width), axis=2)
    sides = tried[np.arange(count), fits.argmax(1)]
    erased = np.any(fits, axis=1) & (chance.random(count) < probability)
    sides = np.where(erased[:, None], sides, 0)
    starts = chance.integers(0, np.array([height, width]) - sides + 1)
    starts = np.where(erased[:, None], starts, 0)
    return np.concatenate([starts, starts + sides], 1).astype(np.int32)
