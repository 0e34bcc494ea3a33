"""Random inputs that a model can take: for checks of exports and engines, and for trying a description out."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.architecture import Description, Input

Arrays = dict[str, npt.NDArray[np.generic]]


def sample_inputs(
    description: Description, *, batch: int = 2, sizes: Mapping[str, int] | None = None, seed: int = 0
) -> Arrays:
    """Return an array [batch, *shape] for each input.

    Args:
        description: whose inputs.
        batch: samples.
        sizes: numbers for the sizes that are words; those left out take their typical one.
        seed: of the values. Lengths are drawn, one of them whole; masks follow such lengths.
    """
    chance = np.random.default_rng(seed)
    numbers = {**description.typical, **(sizes or {})}
    return {
        name: _draw(given, [size if isinstance(size, int) else numbers[size] for size in given.shape], batch, chance,
                    _longest(description, given, numbers))
        for name, given in description.inputs.items()
    }  # fmt: skip


def _longest(description: Description, given: Input, numbers: Mapping[str, int]) -> int:
    if not given.lengths_of:
        return 0
    size = description.inputs[given.lengths_of].shape[0]
    return size if isinstance(size, int) else numbers[size]


def _draw(
    given: Input, shape: list[int], batch: int, chance: np.random.Generator, longest: int
) -> npt.NDArray[np.generic]:
    if longest:
        lengths = chance.integers(max(1, longest * 3 // 4), longest + 1, batch)
        lengths[0] = longest
        return lengths.astype(given.dtype)
    if given.dtype == "bool":
        lengths = chance.integers(max(1, shape[-1] * 3 // 4), shape[-1] + 1, batch)
        lengths[0] = shape[-1]
        return np.asarray(np.arange(shape[-1])[None] < lengths[:, None])
    if given.dtype == "int64":
        return chance.integers(0, given.below or 2, (batch, *shape))
    return chance.standard_normal((batch, *shape)).astype(np.float32)
