"""Faster and slower speech."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from services.common.errors import InvalidError

SPEEDS = (0.9, 1.0, 1.1)
"""Those of Ko et al. 2015, "Audio Augmentation for Speech Recognition"."""


def change_speed(wave: npt.NDArray[np.float32], speed: float) -> npt.NDArray[np.float32]:
    """Return y(t) = x(speed t): FP32 [samples / speed], tempo and pitch changed alike (Ko et al. 2015).

    Raises:
        InvalidError: SciPy, which resamples, is not there.
    """
    ratio = _ratio(speed)
    if ratio == 1:
        return wave
    try:
        from scipy.signal import resample_poly  # type: ignore[import-untyped]  # noqa: PLC0415 - optional, no types
    except ImportError as error:
        raise InvalidError("speeds need scipy; install scikit-learn or scipy, or set speeds to [1]") from error
    changed: npt.NDArray[np.float32] = resample_poly(wave, ratio.denominator, ratio.numerator)
    return changed.astype(np.float32, copy=False)


def changed_length(samples: int, speed: float) -> int:
    """Return how many samples `change_speed` makes."""
    ratio = _ratio(speed)
    return -(-samples * ratio.denominator // ratio.numerator)


def _ratio(speed: float) -> Fraction:
    return Fraction(speed).limit_denominator(100)
