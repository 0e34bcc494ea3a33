"""The search for the fastest measures that keep a budget, by measuring real steps."""

import math
from collections.abc import Callable, Iterator

from services.common.errors import InvalidError
from services.train_svc.engine.memory.estimating import (
    OUT,
    Estimate,
    Probe,
    combinations,
    is_exact,
    is_stricter,
    probing_level,
    strictest,
)
from services.train_svc.engine.memory.exhaustion import is_out_of_memory, size_text
from services.train_svc.engine.memory.measures import NOTHING, Ladder, Measures
from services.train_svc.engine.memory.plans import MARGIN, MemoryPlan, rows_of, steps_to
from services.train_svc.engine.reading import fault

GAIN = 0.01
"""A set is not measured for the sake of a step that is faster by less than this share."""
LAST = ("offload_moments", "offload_activations", "moments")
"""Measures that are tried only where the others will not do: they are slow, or change the curve."""

Try = Callable[[Measures], Probe]


def plan_memory(budget_bytes: int, probe: Try, rungs: Ladder, *, most_probes: int = 12) -> MemoryPlan:
    """Return the fastest measures found whose measured peak is within the budget.

    Tries no measures first, then each alone, reckons from that what sets of them will take, and measures the sets that
    look best until one fits and none looks faster. Sets that leave the curve as it is go before those that do not.

    Args:
        budget_bytes: the most that the peak may be. A set that leaves 2% of it free is preferred.
        probe: runs some steps under measures; an error of the engine that memory ran out counts as no fit.
        rungs: what may be taken (`ladder`), from cheap to dear.
        most_probes: how often steps are run at most, but for one last try of everything at once.

    Raises:
        InvalidError: nothing fits; it names the least peak that was reached, and with what.
    """
    search = _Search(budget_bytes, probe, rungs, most_probes)
    if search.fits(search.measure(NOTHING)):
        return search.plan()
    reference = _first_that_runs(search)
    if reference is not None:
        search.estimate = Estimate(reference=reference, measured=search.seen[reference])
        search.try_alone(early=True)
        search.climb()
    if search.best() is None:
        search.try_everything()
    if search.best() is None:
        raise _nothing_fits(search)
    return search.plan()


class _Search:
    """What was measured so far."""

    def __init__(self, budget_bytes: int, probe: Try, rungs: Ladder, most_probes: int) -> None:
        self.budget_bytes = budget_bytes
        self.rungs = rungs
        self.seen: dict[Measures, Probe] = {}
        self.estimate: Estimate | None = None
        self._probe = probe
        self._most = most_probes

    @property
    def over(self) -> bool:
        """Whether enough was measured."""
        return len(self.seen) >= self._most

    def measure(self, measures: Measures) -> Probe:
        """Return what steps under the measures took."""
        if measures not in self.seen:
            try:
                self.seen[measures] = self._probe(measures)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self.seen[measures] = OUT
        return self.seen[measures]

    def fits(self, probe: Probe, margin: float = MARGIN) -> bool:
        """Say whether a measured peak is within the budget."""
        return probe.peak_bytes <= self.budget_bytes * (1 - margin)

    def best(self, margin: float = 0.0) -> Measures | None:
        """Return the fastest measured set that fits: exact ones first, and those that leave a margin."""
        fitting = [(measures, probe) for measures, probe in self.seen.items() if self.fits(probe, margin)]
        keys = {m: (not is_exact(m, self.rungs), not self.fits(p), p.seconds) for m, p in fitting}
        return min(keys, key=keys.__getitem__, default=None)

    def try_alone(self, *, early: bool) -> None:
        """Measure each measure beside the reference alone: the usual ones, or those that come last."""
        assert self.estimate is not None
        reference = self.estimate.reference
        for rung in self.rungs:
            if (rung.field not in LAST) is early and rung.height(reference) < len(rung.levels) and not self.over:
                single = rung.at(reference, probing_level(rung, reference))
                probe = self.measure(single)
                if math.isfinite(probe.peak_bytes):
                    self.estimate.alone[rung.field] = (single, probe)

    def climb(self) -> None:
        """Measure the sets that look best, until one fits and none looks faster."""
        assert self.estimate is not None
        widened = False
        while not self.over:
            candidate = next(self._promising(), None)
            if candidate is None and self.best() is None and not widened:
                self.try_alone(early=False)
                widened = True
                continue
            if candidate is None:
                return
            self.estimate.correct(candidate, self.measure(candidate))

    def try_everything(self) -> None:
        """Measure all measures at once, and if that fits, what can be left out."""
        everything = strictest(self.rungs)
        probe = self.measure(everything)
        if self.estimate is not None and self.fits(probe, 0):
            self.estimate.correct(everything, probe)
            self.climb()

    def _promising(self) -> Iterator[Measures]:
        # Sets that will probably fit and be faster than the best so far, fastest first.
        assert self.estimate is not None
        best = self.best(MARGIN)
        bound = math.inf if best is None else self.seen[best].seconds * (1 - GAIN)
        found = []
        for measures in self._candidates():
            guess = self.estimate.of(measures)
            if self.fits(guess) and guess.seconds < bound:
                found.append((not is_exact(measures, self.rungs), guess.seconds, _size(measures, self.rungs), measures))
        if best is not None and is_exact(best, self.rungs):
            found = [each for each in found if not each[0]]
        yield from (measures for *_, measures in sorted(found, key=lambda each: each[:-1]))

    def _candidates(self) -> Iterator[Measures]:
        # Sets of what was tried alone, less those that cannot be right after what was measured.
        assert self.estimate is not None
        tried = tuple(rung for rung in self.rungs if rung.field in self.estimate.alone)
        too_large = [measures for measures, probe in self.seen.items() if not self.fits(probe)]
        for measures in combinations(tried, self.estimate.reference):
            if measures not in self.seen and not any(is_stricter(each, measures, self.rungs) for each in too_large):
                yield measures

    def plan(self) -> MemoryPlan:
        """Return the best set, with what each of its measures saved and cost."""
        measures = self.best()
        assert measures is not None
        for each in steps_to(measures, self.rungs):
            # A set on the way to the best is measured for its row alone, while that costs little.
            if not self.over:
                self.measure(each)
        measures = self.best() or measures
        path = [(each, self.seen[each]) for each in steps_to(measures, self.rungs) if each in self.seen]
        probe = self.seen[measures]
        return MemoryPlan(
            measures=measures,
            peak_bytes=probe.peak_bytes,
            seconds=probe.seconds,
            budget_bytes=self.budget_bytes,
            rows=rows_of(_finite_but_first(path), self.rungs),
            probes=tuple(self.seen.items()),
            rungs=self.rungs,
        )


def _first_that_runs(search: _Search) -> Measures | None:
    # No measures; else the fewest pieces, four times more each time, in which a step runs at all; else with everything
    # that is exact.
    rung = next((rung for rung in search.rungs if rung.field == "pieces"), None)
    levels = rung.levels[1::2] if rung and len(rung.levels) > 1 else rung.levels if rung else ()
    tried = [NOTHING, *(Measures(pieces=level) for level in levels)]
    exact = tuple(each for each in search.rungs if each.exact)
    for measures in [*tried, strictest(exact)]:
        if not search.over and math.isfinite(search.measure(measures).peak_bytes):
            return measures
    return None


def _finite_but_first(path: list[tuple[Measures, Probe]]) -> list[tuple[Measures, Probe]]:
    # Sets in between that ran out of memory say nothing of the next measure alone.
    return path[:1] + [each for each in path[1:] if math.isfinite(each[1].peak_bytes)]


def _size(measures: Measures, rungs: Ladder) -> int:
    return sum(rung.height(measures) for rung in rungs)


def _nothing_fits(search: _Search) -> InvalidError:
    measures, probe = min(search.seen.items(), key=lambda each: each[1].peak_bytes)
    budget = size_text(search.budget_bytes)
    if math.isinf(probe.peak_bytes):
        message = f"{budget} cannot be kept: even with {measures} the device's memory ran out; train a smaller model"
        return fault("train.memory_budget", message)
    nearest = f"the nearest that can: {size_text(probe.peak_bytes)} with {measures}"
    return fault("train.memory_budget", f"{budget} cannot be kept by any measure; {nearest}")
