"""Pictures for training: uint8 in memory, or decoded batch by batch, and their normalisation. Loads no engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

IN_MEMORY_BYTES = 512 << 20


class Split(Protocol):
    """The samples of one split, in a fixed order."""

    @property
    def ids(self) -> Sequence[str]:
        """Names of the samples."""

    @property
    def labels(self) -> np.ndarray:
        """Class of each sample: int64 [samples]."""

    def __len__(self) -> int:
        """How many samples there are."""

    def pictures(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures at `indices`: uint8 [n, channels, height, width]."""


@dataclass(frozen=True, kw_only=True)
class MemorySplit:
    """A split that was decoded once and stays in memory."""

    ids: Sequence[str]
    """Names of the samples."""
    labels: np.ndarray
    """Class of each: int64 [samples]."""
    data: np.ndarray
    """All pictures: uint8 [samples, channels, height, width]."""

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.labels)

    def pictures(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures at `indices`."""
        found: np.ndarray = self.data[indices]
        return found


@dataclass(frozen=True, kw_only=True)
class LazySplit:
    """A split too large for memory: each batch is read and decoded when it is asked for."""

    ids: Sequence[str]
    """Names of the samples."""
    labels: np.ndarray
    """Class of each: int64 [samples]."""
    read: Callable[[np.ndarray], np.ndarray]
    """Reads and decodes the pictures at the indices."""

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.labels)

    def pictures(self, indices: np.ndarray) -> np.ndarray:
        """Return the pictures at `indices`."""
        return self.read(indices)


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """(x / 255 - mean) / std, a channel at a time."""

    mean: tuple[float, ...]
    """Mean of each channel, in 0 to 1."""
    std: tuple[float, ...]
    """Standard deviation of each channel, in 0 to 1."""

    @classmethod
    def of(cls, split: Split, samples: int = 10_000) -> "Normalization":
        """Return that of a split, measured on at most `samples` of it, spread evenly."""
        indices = np.unique(np.linspace(0, len(split) - 1, min(samples, len(split))).astype(np.int64))
        pictures = split.pictures(indices)
        means = pictures.mean((0, 2, 3), dtype=np.float64) / 255
        spreads = pictures.std((0, 2, 3), dtype=np.float64) / 255
        # A channel that is one flat grey everywhere must not be divided by zero.
        return cls(
            mean=tuple(round(float(mean), 6) for mean in means),
            std=tuple(round(float(spread), 6) or 1.0 for spread in spreads),
        )

    def step(self) -> dict[str, Any]:
        """Return the same as a step of preprocess.yaml."""
        return {"normalize": {"mean": list(self.mean), "std": list(self.std)}}
