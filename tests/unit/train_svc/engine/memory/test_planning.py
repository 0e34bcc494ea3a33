"""The search for measures that keep a budget: by what was measured, in few tries, and honest where nothing fits."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.memory import NOTHING, Ladder, Measures, MemoryPlan, Probe, ladder, plan_memory, tighter

GIB = 2**30
ALL = ladder(most_pieces=64, units=12, head=True, moments=("8bit",), offload=True)


def language_model(measures: Measures, *, device_gib: float = 1000.0) -> Probe:
    """Return what a step of a made-up model takes: weights 2 GiB, moments 1, activations 10, scores 6."""
    kept = 10 * (1 - 0.85 * measures.recompute) * (0.3 if measures.offload_activations else 1)
    scores = 0.5 if measures.chunked_head else 6.0
    moments = 0.0 if measures.offload_moments else 0.25 if measures.moments == "8bit" else 1.0
    peak = 2 + moments + (kept + scores) / measures.pieces
    if peak > device_gib:
        raise MemoryError
    seconds = 0.1 * (1 + 0.3 * measures.recompute) + 0.002 * (measures.pieces - 1)
    seconds += 0.08 * measures.offload_activations + 0.05 * measures.offload_moments - 0.01 * measures.chunked_head
    return Probe(peak_bytes=peak * GIB, seconds=seconds)


def counted(probe: Callable[[Measures], Probe]) -> tuple[Callable[[Measures], Probe], list[Measures]]:
    made: list[Measures] = []

    def count(measures: Measures) -> Probe:
        made.append(measures)
        return probe(measures)

    return count, made


def fastest(budget: float, rungs: Ladder) -> float:
    """Return the least time of all sets that keep the curve and fit: a search without an end."""
    levels = [[getattr(NOTHING, rung.field), *rung.levels] for rung in rungs if rung.exact]
    names = [rung.field for rung in rungs if rung.exact]
    found = [language_model(Measures(**dict(zip(names, each, strict=True)))) for each in itertools.product(*levels)]
    return min(probe.seconds for probe in found if probe.peak_bytes <= budget)


@pytest.mark.parametrize("budget", [18.0, 10.0, 8.0, 6.0, 4.0, 3.2])
def test_the_plan_keeps_its_budget_and_is_nearly_the_fastest(budget: float) -> None:
    probe, made = counted(language_model)
    plan = plan_memory(int(budget * GIB), probe, ALL)
    assert language_model(plan.measures).peak_bytes == plan.peak_bytes <= budget * GIB
    assert plan.measures.moments == "float32"
    assert plan.seconds <= 1.06 * fastest(0.98 * budget * GIB, ALL)
    assert len(made) == len(set(made)) <= 12


def test_without_need_nothing_is_done() -> None:
    probe, made = counted(language_model)
    plan = plan_memory(20 * GIB, probe, ALL)
    assert plan.measures == NOTHING
    assert made == [NOTHING]
    assert plan.table().splitlines()[-1].startswith("no measures: 19.0 GiB of 20.0 GiB")


def test_measures_that_change_the_curve_come_last() -> None:
    rungs = ladder(most_pieces=1, units=12, head=True, moments=("8bit",))
    plan = plan_memory(int(4.5 * GIB), language_model, rungs)
    assert plan.measures == Measures(chunked_head=True, recompute=1.0, moments="8bit")
    assert plan_memory(int(5.2 * GIB), language_model, rungs).measures.moments == "float32"


def test_pieces_are_taken_last_where_samples_see_one_another() -> None:
    rungs = ladder(pieces_exact=False, units=12, head=True)
    assert plan_memory(6 * GIB, language_model, rungs).measures == Measures(chunked_head=True, recompute=1.0)
    assert plan_memory(4 * GIB, language_model, rungs).measures.pieces > 1


def test_what_does_not_run_at_all_is_planned_from_what_does() -> None:
    probe, made = counted(lambda measures: language_model(measures, device_gib=8))
    plan = plan_memory(6 * GIB, probe, ALL)
    assert plan.peak_bytes <= 6 * GIB
    assert len(made) <= 12
    assert plan.rows[0].saved_bytes is None
    assert "ran out" in plan.table()


def test_the_rows_add_up_to_what_was_saved() -> None:
    plan = plan_memory(5 * GIB, language_model, ALL, most_probes=20)
    assert len(plan.rows) > 1
    whole = language_model(NOTHING)
    assert sum(row.saved_bytes or 0 for row in plan.rows) == pytest.approx(whole.peak_bytes - plan.peak_bytes)
    assert math.prod(1 + (row.cost or 0) for row in plan.rows) == pytest.approx(plan.seconds / whole.seconds)
    for row in plan.rows:
        assert row.measure in plan.table()


def test_a_budget_that_nothing_keeps_names_the_nearest_that_can() -> None:
    with pytest.raises(InvalidError) as caught:
        plan_memory(2 * GIB, language_model, ladder(units=12, head=True))
    (violation,) = caught.value.violations
    assert violation.field == "train.memory_budget"
    assert violation.message == (
        "2.0 GiB cannot be kept by any measure; the nearest that can: 3.0 GiB with "
        "batch in 64 pieces, all units recomputed, scores in chunks"
    )


def test_a_model_that_runs_under_no_measures_is_refused() -> None:
    with pytest.raises(InvalidError, match=r"even with .* the device's memory ran out"):
        plan_memory(GIB, lambda measures: language_model(measures, device_gib=1), ALL)


def test_an_error_that_is_no_lack_of_memory_is_not_swallowed() -> None:
    def broken(_measures: Measures) -> Any:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        plan_memory(GIB, broken, ALL)


def test_estimates_that_are_far_off_cost_tries_but_never_the_promise() -> None:
    def stubborn(measures: Measures) -> Probe:
        # Each measure saves much alone, and little beside others.
        taken = sum((measures.chunked_head, measures.recompute > 0, measures.offload_activations))
        peak = 10 - 3 * (taken > 0) - 0.2 * taken - 4 * (1 - 1 / measures.pieces)
        return Probe(peak_bytes=peak * GIB, seconds=0.1 * (1 + taken + 0.01 * measures.pieces))

    plan = plan_memory(int(3.5 * GIB), stubborn, ALL)
    assert plan.peak_bytes == stubborn(plan.measures).peak_bytes <= 3.5 * GIB


def test_a_peak_near_the_budget_calls_for_one_more_measure() -> None:
    plan = plan_memory(20 * GIB, language_model, ALL)
    assert not plan.comes_near(19.5 * GIB)
    assert plan.comes_near(19.7 * GIB)
    taken = []
    while (measures := tighter(plan)) is not None:
        assert measures != plan.measures
        taken.append(language_model(measures).peak_bytes)
        plan = dataclasses.replace(plan, measures=measures)
    assert taken == sorted(taken, reverse=True)
    assert plan.measures.moments == "float32"


def test_there_is_nothing_tighter_than_everything() -> None:
    plan = MemoryPlan(measures=NOTHING, peak_bytes=1, seconds=1, budget_bytes=1, rungs=())
    assert tighter(plan) is None
