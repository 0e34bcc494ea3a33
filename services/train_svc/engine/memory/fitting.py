"""The largest batch whose measured peak is within a budget."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from services.train_svc.engine.memory.estimating import OUT, Probe
from services.train_svc.engine.memory.exhaustion import is_out_of_memory, size_text
from services.train_svc.engine.reading import fault

FINENESS = 16
"""The search ends where the next larger batch tried would be less than a 16th larger."""
LEAP = 8
"""How many times larger the next batch may be, where a straight line through the last two peaks allows it."""


@dataclass(frozen=True, kw_only=True)
class FitBatch:
    """The largest batch found."""

    batch: int
    """Samples."""
    peak_bytes: float
    """Measured with it."""
    rows: tuple[tuple[int, Probe], ...]
    """What was measured, in order: samples and what a step took."""

    def table(self) -> str:
        """Return what was measured as lines of plain text."""
        lines = [f"{'batch':>6}  {'peak':>10}  {'samples/s':>10}"]
        for batch, probe in self.rows:
            ran = math.isfinite(probe.peak_bytes)
            peak, rate = (size_text(probe.peak_bytes), f"{batch / probe.seconds:.1f}") if ran else ("ran out", "")
            lines.append(f"{batch:6}  {peak:>10}  {rate:>10}")
        return "\n".join(lines)


def fit_batch(probe: Callable[[int], Probe], budget_bytes: int, *, least: int = 1, most: int = 65536) -> FitBatch:
    """Return the largest batch that fits, to a 16th.

    Batches double, or leap where the peaks so far allow it, until one does not fit; then the gap is halved.

    Args:
        probe: runs some steps of a batch; an error of the engine that memory ran out counts as no fit.
        budget_bytes: the most that the peak may be.
        least: samples of the smallest batch.
        most: samples of the largest.

    Raises:
        InvalidError: the smallest does not fit; it says what it takes.
    """
    rows: list[tuple[int, Probe]] = []

    def fits(batch: int) -> bool:
        rows.append((batch, _tried(probe, batch)))
        return rows[-1][1].peak_bytes <= budget_bytes

    if not fits(least):
        peak, budget = size_text(rows[0][1].peak_bytes), size_text(budget_bytes)
        cure = "give a larger one, or measures that save memory"
        raise fault("train.memory_budget", f"{budget} holds no batch: {least} samples take {peak}; {cure}")
    good, bad = least, most + 1
    while bad - good > max(1, good // FINENESS):
        batch = min(most, _next_larger(rows, budget_bytes)) if bad > most else _between(rows, budget_bytes, good, bad)
        if fits(batch):
            good = batch
        else:
            bad = batch
        if good == most:
            break
    return FitBatch(batch=good, peak_bytes=dict(rows)[good].peak_bytes, rows=tuple(rows))


def _tried(probe: Callable[[int], Probe], batch: int) -> Probe:
    try:
        return probe(batch)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return OUT


def _next_larger(rows: list[tuple[int, Probe]], budget_bytes: int) -> int:
    # While all fit: double, or up to where the line through the last two meets the budget.
    batch = rows[-1][0]
    met = _line(rows, budget_bytes)
    return _even(max(2 * batch, min(LEAP * batch, met))) if met > batch else 2 * batch


def _between(rows: list[tuple[int, Probe]], budget_bytes: int, good: int, bad: int) -> int:
    # Where the line meets the budget if that lies well within, else the middle.
    step = max(1, good // FINENESS)
    met = _even(_line(rows, budget_bytes))
    return met if good + step <= met <= bad - step else min(bad - 1, max(good + 1, _even((good + bad) // 2)))


def _line(rows: list[tuple[int, Probe]], budget_bytes: int) -> int:
    known = sorted((batch, probe.peak_bytes) for batch, probe in rows if math.isfinite(probe.peak_bytes))
    if len(known) < 2:  # noqa: PLR2004 - points of a line
        return 0
    (first, low), (second, high) = known[-2:]
    return int(second + (budget_bytes - high) * (second - first) / (high - low)) if high > low else 0


def _even(batch: int) -> int:
    # Down to a multiple of a 16th of the power of two below, so that batches are numbers that kernels like.
    step = max(1, (1 << batch.bit_length() - 1) // FINENESS)
    return batch // step * step
