"""Where the random numbers of each kind of change come from."""

import numpy as np

from services.train_svc.engine.chance import seed_of

KINDS = ("move", "flip", "crop", "erase", "mix", "mask")


def chance_of(seed: int, step: int, kind: str) -> np.random.Generator:
    """Return a generator for one kind of change in one step.

    Each kind has its own, so that turning one on or off leaves the others' numbers alone.
    """
    return np.random.default_rng([seed_of(seed, "augment", step), KINDS.index(kind)])
