"""Random masks on log-mel features (SpecAugment, Park et al. 2019, arXiv 1904.08779)."""

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.spec import MaskSpec

Bands = npt.NDArray[np.int32]
"""[batch, bands, 2]: start and end of each, the end not among them; equal: none."""
Counts = npt.NDArray[np.int64]


def draw_masks(spec: MaskSpec, lengths: Counts, features: int, chance: np.random.Generator) -> dict[str, Bands]:
    """Return `mask_frequency` and `mask_time`, those that the spec asks for.

    f ~ U[0, F) and its start ~ U[0, features - f); t ~ U[0, T), at most p of the recording, and its start ~
    U[0, frames - t).

    Args:
        spec: how many, and how wide.
        lengths: frames of each recording, [batch].
        features: of a frame.
        chance: decides.
    """
    # Both are drawn whatever is on, so that neither changes the other.
    axis = np.full_like(lengths, features)
    frequency = _bands(np.minimum(spec.frequency_width, axis), axis, spec.frequency_masks, chance)
    widest = np.floor(lengths * spec.time_share).astype(np.int64)
    time = _bands(np.minimum(spec.time_width, widest + 1), lengths, spec.time_masks, chance)
    return {name: bands for name, bands in (("mask_frequency", frequency), ("mask_time", time)) if bands.size}


def _bands(below: Counts, axis: Counts, count: int, chance: np.random.Generator) -> Bands:
    shape = (len(axis), count)
    widths = chance.integers(0, np.broadcast_to(np.maximum(below, 1)[:, None], shape))
    starts = chance.integers(0, np.maximum(axis[:, None] - widths, 1))
    return np.stack([starts, starts + widths], 2).astype(np.int32)
