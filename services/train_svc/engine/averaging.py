"""How much of the newest weights goes into their moving average."""

WARM = 10


def newest_share(decay: float, step: int) -> float:
    """Return the weight of the newest weights, 1 - decay, and more at first, where the average is of few yet.

    A pure function of the step: 1 - min(decay, (1 + step) / (10 + step)), as TensorFlow's moving average has it.

    Args:
        decay: weight of the past in the long run.
        step: steps made before this one.
    """
    return 1 - min(decay, (1 + step) / (WARM + step))
