"""Out of memory: how each engine says it, and what to tell the user."""

import math

from services.common.errors import InvalidError
from services.train_svc.engine.reading import fault

NAMES = {"MemoryError", "OutOfMemoryError", "ResourceExhaustedError"}
"""Classes of torch, TensorFlow and Python; by name, so that neither engine need be loaded."""
WORDS = ("out of memory", "can't allocate memory", "alloc_failed")
"""In the messages of errors that have no class of their own: torch's CPU allocator, cuBLAS."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out."""
    if NAMES & {kind.__name__ for kind in type(error).__mro__}:
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in WORDS)


def explain_out_of_memory(
    error: BaseException, *, batch: int, pieces: int, peak_bytes: int = 0, device_bytes: int = 0
) -> InvalidError | None:
    """Return what to lower and by how much.

    Args:
        error: what the engine raised.
        batch: samples a step.
        pieces: pieces that the batch was computed in.
        peak_bytes: most that the run's tensors took before; 0: not known.
        device_bytes: what the device has; 0: not known.

    Returns:
        The error for the user, or None where memory was not what lacked.
    """
    if not is_out_of_memory(error):
        return None
    samples = math.ceil(batch / pieces)
    half = max(1, samples // 2)
    took = f" after {size_text(peak_bytes)} were taken" if peak_bytes else ""
    has = f" of {size_text(device_bytes)}" if device_bytes else ""
    if samples == 1:
        cure = "a single sample does not fit; give a `memory_budget`, which recomputes and offloads, or a smaller model"
        return fault("train.memory_budget", f"the device's memory{has} ran out{took} with one sample at once: {cure}")
    more = f"train.accumulate: {math.ceil(batch / half)} (now {pieces}), which gives the same gradient"
    budget = f"train.memory_budget: {size_text(int(0.9 * device_bytes)).replace(' ', '')}" if device_bytes else ""
    choices = [more, budget or "a train.memory_budget, which finds the measures itself"]
    choices.append(f"train.batch_size: {half * pieces} (now {batch})")
    message = f"the device's memory{has} ran out{took} with {samples} samples at once; set one of: "
    return fault("train.batch_size", message + "; ".join(choices))


def size_text(size_bytes: float) -> str:
    """Return a size as people read it: `5.2 GiB`, `730 MiB`."""
    if math.isinf(size_bytes):
        return "more than there is"
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(size_bytes) >= scale:
            value = size_bytes / scale
            return f"{value:.0f} {unit}" if abs(value) >= 100 else f"{value:.1f} {unit}"  # noqa: PLR2004 - three digits
    return f"{size_bytes:.0f} B"
