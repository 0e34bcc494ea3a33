"""SpecAugment's masks, drawn and applied on the host."""

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.spec import MaskSpec


def mask_features(features: npt.NDArray[np.float32], spec: MaskSpec, chance: np.random.Generator) -> None:
    """Zero bands and stretches of one recording's features, in place (Park et al. 2019, arXiv 1904.08779, section 2).

    Args:
        features: FP32 [time, features] without padding, normalised: zero is the mean.
        spec: f ~ U[0, F), f0 ~ U[0, features - f), `frequency_masks` times; t ~ U[0, T) and at most `time_share` of the
            time, t0 ~ U[0, time - t), `time_masks` times.
        chance: decides them all.
    """
    time, bands = features.shape
    for _ in range(spec.frequency_masks):
        first, last = _stretch(bands, min(spec.frequency_width, bands), chance)
        features[:, first:last] = 0
    longest = min(spec.time_width, int(spec.time_share * time) + 1, time)
    for _ in range(spec.time_masks):
        first, last = _stretch(time, longest, chance)
        features[first:last] = 0


def _stretch(size: int, below: int, chance: np.random.Generator) -> tuple[int, int]:
    width = int(chance.integers(0, max(1, below)))
    first = int(chance.integers(0, max(1, size - width)))
    return first, first + width
