"""The largest batch that fits, in few tries."""

import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.memory import Probe, fit_batch

MIB = 2**20


def straight(batch: int) -> Probe:
    return Probe(peak_bytes=(500 + 7 * batch) * MIB, seconds=0.01 * batch)


def stepped(batch: int) -> Probe:
    """Return what a step takes whose workspace leaps, on a device that runs out."""
    if batch > 1000:
        raise MemoryError
    return Probe(peak_bytes=(100 + 3 * batch + 900 * (batch > 300)) * MIB, seconds=0.01 * batch)


@pytest.mark.parametrize("budget", [507, 520, 2000, 9000, 40_000, 400_000])
def test_the_batch_is_the_largest_to_a_sixteenth(budget: int) -> None:
    found = fit_batch(straight, budget * MIB)
    largest = (budget - 500) // 7
    assert found.batch <= largest
    assert largest - found.batch <= max(1, found.batch // 16) or found.batch == 65536
    assert found.peak_bytes == straight(found.batch).peak_bytes
    assert len(found.rows) <= 12


@pytest.mark.parametrize("budget", [700, 1500, 2500, 10_000])
def test_peaks_that_leap_and_memory_that_runs_out_are_searched_too(budget: int) -> None:
    found = fit_batch(stepped, budget * MIB)
    fitting = [batch for batch in range(1, 1001) if stepped(batch).peak_bytes <= budget * MIB]
    assert found.batch in fitting
    assert max(fitting) - found.batch <= max(1, found.batch // 16)
    assert len(found.rows) <= 16
    assert ("ran out" in found.table()) == (budget == 10_000)


def test_bounds_are_kept() -> None:
    assert fit_batch(straight, 10**12, most=48).batch == 48
    assert fit_batch(straight, 600 * MIB, least=8).batch >= 8


def test_a_budget_that_holds_no_batch_is_refused() -> None:
    with pytest.raises(InvalidError, match=r"500 MiB holds no batch: 2 samples take 514 MiB") as caught:
        fit_batch(straight, 500 * MIB, least=2)
    assert caught.value.violations[0].field == "train.memory_budget"
