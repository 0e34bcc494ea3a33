"""What planning found: the measures of a run, what each saved and cost, and what to do if they no longer suffice."""

from dataclasses import dataclass
from itertools import pairwise

from services.train_svc.engine.memory.estimating import Probe
from services.train_svc.engine.memory.exhaustion import size_text
from services.train_svc.engine.memory.measures import NOTHING, Ladder, Measures, words

MARGIN = 0.02
"""Share of a budget that planning leaves free if it can, and within which a run takes one more measure: batches differ.
What is promised is the whole budget."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measure of a plan, beside the measures of the rows before it."""

    measure: str
    """In words; several where one of them was not measured without the other."""
    saved_bytes: float | None
    """By how much the peak fell; None: without it memory ran out."""
    cost: float | None
    """Share of a step's time that it added; below 0: it made the step faster. None: there was no step without it."""


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """The fastest measures found whose measured peak keeps a budget."""

    measures: Measures
    """What to apply."""
    peak_bytes: float
    """Measured under them."""
    seconds: float
    """Of one step, measured."""
    budget_bytes: int
    """What is kept."""
    rows: tuple[Row, ...] = ()
    """What each measure saved and cost."""
    probes: tuple[tuple[Measures, Probe], ...] = ()
    """All that was measured, in order."""
    rungs: Ladder = ()
    """What may be taken."""

    def comes_near(self, peak_bytes: float) -> bool:
        """Say whether a peak lies within 2% of the budget, or above it: time for `tighter`."""
        return peak_bytes > (1 - MARGIN) * self.budget_bytes

    def table(self) -> str:
        """Return it as lines of plain text: a measure, what it saved, what it cost."""
        wide = max([len("measure"), *(len(row.measure) for row in self.rows)])
        lines = [f"{'measure':{wide}}  {'saved':>10}  {'time':>7}"] if self.rows else []
        lines += [f"{row.measure:{wide}}  {_saved(row):>10}  {_cost(row):>7}" for row in self.rows]
        kept = f"{size_text(self.peak_bytes)} of {size_text(self.budget_bytes)}"
        lines.append(f"{self.measures}: {kept}, {self.seconds * 1000:.1f} ms a step, {len(self.probes)} sets measured")
        return "\n".join(lines)


def _saved(row: Row) -> str:
    return "ran out" if row.saved_bytes is None else size_text(row.saved_bytes)


def _cost(row: Row) -> str:
    return "" if row.cost is None else f"{row.cost:+.1%}"


def tighter(plan: MemoryPlan) -> Measures | None:
    """Return the plan's measures and one more, for a run whose peak comes near its budget; None: there is none.

    Measures that would change the curve are not taken once a run is under way. After it is applied, go on with
    `dataclasses.replace(plan, measures=...)`.
    """
    for rung in plan.rungs:
        height = rung.height(plan.measures)
        if rung.exact and height < len(rung.levels):
            return rung.at(plan.measures, rung.levels[height])
    return None


def rows_of(path: list[tuple[Measures, Probe]], rungs: Ladder) -> tuple[Row, ...]:
    """Return a row for each step from one measured set to the next stricter one."""
    return tuple(_row(*before, *after, rungs) for before, after in pairwise(path))


def _row(before: Measures, first: Probe, after: Measures, second: Probe, rungs: Ladder) -> Row:
    names = [rung.field for rung in rungs if getattr(before, rung.field) != getattr(after, rung.field)]
    text = ", ".join(words(name, getattr(after, name)) for name in names)
    if first.peak_bytes == float("inf"):
        return Row(measure=text, saved_bytes=None, cost=None)
    return Row(measure=text, saved_bytes=first.peak_bytes - second.peak_bytes, cost=second.seconds / first.seconds - 1)


def steps_to(measures: Measures, rungs: Ladder) -> list[Measures]:
    """Return no measures, then the given ones added one after the other in the ladder's order."""
    path = [NOTHING]
    for rung in rungs:
        if rung.height(measures):
            path.append(rung.at(path[-1], getattr(measures, rung.field)))
    return path
