"""Features of sequences to the range a model was trained on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.common.preprocess.registry import step


@step("normalize_features")
@dataclass(frozen=True, kw_only=True)
class NormalizeFeatures:
    """(value - mean) / std in FP32, a mean and std for each feature: the last axis, as in [..., time, features]."""

    mean: tuple[float, ...]
    """One a feature, or one for all."""
    std: tuple[float, ...]
    """As many; above 0."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        if not self.mean or len(self.mean) != len(self.std):
            raise InvalidError(f"mean and std have {len(self.mean)} and {len(self.std)} values; give one a feature")
        if not np.isfinite([*self.mean, *self.std]).all() or min(self.std) <= 0:
            raise InvalidError("mean and std must be finite, std above 0")

    def __call__(self, value: Any) -> NDArray[np.float32]:  # noqa: ANN401 - the registry's signature
        """Return FP32 of the same shape. Raises InvalidError for another number of features."""
        array = np.asarray(value)
        if not array.ndim or len(self.mean) not in (1, array.shape[-1]):
            raise InvalidError(
                f"normalize_features has {len(self.mean)} features, the value has shape {list(array.shape)}"
            )
        result: NDArray[np.float32] = np.subtract(array, np.array(self.mean, np.float32), dtype=np.float32)
        result /= np.array(self.std, np.float32)
        return result
