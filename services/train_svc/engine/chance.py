"""Randomness as a pure function of (seed, purpose, position), so that any batch can be made again, alone.

A resumed run needs no saved generator: its position is its state. The order of samples is as pure; see
`services.common.records.SampleOrder`.
"""

from typing import Literal

import numpy as np

PURPOSES = {"weights": 0, "augment": 1, "model": 2}

Purpose = Literal["weights", "augment", "model"]


def seed_of(seed: int, purpose: Purpose, position: int = 0) -> int:
    """Return a 63-bit seed, independent for each purpose and position."""
    state = np.random.SeedSequence([seed, PURPOSES[purpose], position]).generate_state(1, np.uint64)
    return int(state[0]) >> 1
