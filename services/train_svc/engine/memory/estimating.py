"""What sets of measures will probably take, reckoned from a few that were measured."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.train_svc.engine.memory.measures import NOTHING, Ladder, Measures, Rung

FIXED = ("moments", "offload_moments")
"""Measures on what stays from step to step; the others act on what a piece of the batch moves."""
FLOOR = 0.02
"""Share of what a piece moves that no measure saves."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What steps under some measures took."""

    peak_bytes: float
    """Most memory at once; infinite: it ran out."""
    seconds: float
    """Of one step."""


OUT = Probe(peak_bytes=math.inf, seconds=math.inf)


@dataclass(kw_only=True)
class Estimate:
    """Peak = fixed + moved / pieces, and seconds that add up: what each measure changed alone says the rest.

    Only which set is measured next depends on it, never what a plan promises.
    """

    reference: Measures
    """Measures under which the others were measured."""
    measured: Probe
    """What the reference took."""
    alone: dict[str, tuple[Measures, Probe]] = field(default_factory=dict)
    """What each further measure took beside the reference, by field."""
    error_bytes: float = 0.0
    """How much the last estimate was too small."""

    def of(self, measures: Measures) -> Probe:
        """Return what the measures will probably take."""
        pieces = measures.pieces / self.reference.pieces
        moved = self._moved()
        fixed = self.measured.peak_bytes - moved
        seconds = self.measured.seconds
        saved = 0.0
        for name, (single, probe) in self.alone.items():
            share = _distance(measures, self.reference, name) / _distance(single, self.reference, name)
            added = probe.seconds - self.measured.seconds
            # More pieces are never faster in truth; other measures may be.
            seconds += share * (max(0.0, added) if name == "pieces" else added)
            gain = share * (self.measured.peak_bytes - probe.peak_bytes)
            if name in FIXED:
                fixed -= gain
            elif name != "pieces":
                saved += gain
        left = max(FLOOR * moved, moved - saved)
        return Probe(peak_bytes=fixed + left / pieces + self.error_bytes, seconds=seconds)

    def correct(self, measures: Measures, probe: Probe) -> None:
        """Take in what a set took in truth."""
        if math.isfinite(probe.peak_bytes):
            self.error_bytes += probe.peak_bytes - self.of(measures).peak_bytes

    def _moved(self) -> float:
        if "pieces" not in self.alone:
            # Nothing says how much stays from step to step; half is a guess that measuring puts right.
            return self.measured.peak_bytes / 2
        single, probe = self.alone["pieces"]
        more = single.pieces / self.reference.pieces
        saved = self.measured.peak_bytes - probe.peak_bytes
        return min(self.measured.peak_bytes, max(0.0, saved * more / (more - 1)))


def _distance(measures: Measures, reference: Measures, name: str) -> float:
    value, start = getattr(measures, name), getattr(reference, name)
    if name == "moments":
        return float(value != start)
    return float(value) - float(start)


def combinations(rungs: Ladder, reference: Measures = NOTHING) -> Iterator[Measures]:
    """Yield every set of measures on the ladder that goes at least as far as the reference."""
    choices = [[getattr(reference, rung.field), *rung.levels[rung.height(reference) :]] for rung in rungs]
    for levels in itertools.product(*choices):
        measures = reference
        for rung, level in zip(rungs, levels, strict=True):
            measures = rung.at(measures, level)
        yield measures


def is_stricter(first: Measures, second: Measures, rungs: Ladder) -> bool:
    """Say whether the first goes at least as far as the second in every measure."""
    return all(rung.height(first) >= rung.height(second) for rung in rungs)


def is_exact(measures: Measures, rungs: Ladder) -> bool:
    """Say whether the measures leave the curve as it is."""
    return all(rung.exact or not rung.height(measures) for rung in rungs)


def strictest(rungs: Ladder) -> Measures:
    """Return all measures, each at its strictest."""
    measures = NOTHING
    for rung in rungs:
        measures = rung.at(measures, rung.levels[-1])
    return measures


def probing_level(rung: Rung, reference: Measures) -> object:
    """Return the level at which a measure is tried alone: the next number of pieces, else the strictest."""
    return rung.levels[rung.height(reference)] if rung.field == "pieces" else rung.levels[-1]
