"""Values to the range a model was trained on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.common.preprocess.registry import step


@step("normalize")
@dataclass(frozen=True, kw_only=True)
class Normalize:
    """(value * scale - mean) / std, in FP32, a mean and std for each channel or one for all.

    Channels are the third dimension from the end, as in (..., channels, height, width).
    """

    mean: tuple[float, ...] = (0.0,)
    """In units after scaling."""
    std: tuple[float, ...] = (1.0,)
    """In units after scaling; above 0."""
    scale: float = 1 / 255
    """Takes bytes to 0..1."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        if not all(value > 0 and np.isfinite(value) for value in self.std) or not np.isfinite(self.scale):
            raise InvalidError(f"std {list(self.std)} and scale {self.scale} must be finite, std above 0")
        if not self.mean or not self.std or len({1, len(self.mean), len(self.std)}) > 2:  # noqa: PLR2004 - 1 and n
            raise InvalidError(
                f"mean and std have {len(self.mean)} and {len(self.std)} values; give one, or one a channel"
            )

    def __call__(self, value: Any) -> NDArray[np.float32]:  # noqa: ANN401 - the registry's signature
        """Return FP32 of the same shape; any leading dimensions are a batch."""
        array = np.asarray(value)
        channels = max(len(self.mean), len(self.std))
        if channels > 1 and (array.ndim < 3 or array.shape[-3] != channels):  # noqa: PLR2004 - C, H, W
            raise InvalidError(f"normalize has {channels} channels, the value has shape {list(array.shape)}")
        std = np.array(self.std, np.float64)
        factor = (self.scale / std).astype(np.float32)
        offset = (-np.array(self.mean, np.float64) / std).astype(np.float32)
        if channels > 1:
            factor, offset = factor.reshape(-1, 1, 1), offset.reshape(-1, 1, 1)
        result: NDArray[np.float32] = np.multiply(array, factor, dtype=np.float32)
        result += offset
        return result
