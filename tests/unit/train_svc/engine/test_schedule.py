import math
from typing import Any

import pytest
import torch

from services.train_svc.engine.schedule import learning_rate
from services.train_svc.engine.spec import ScheduleSpec


def curve(spec: ScheduleSpec, epochs: int = 10, steps: int = 10) -> list[float]:
    return [learning_rate(spec, 1.0, step, steps, epochs) for step in range(epochs * steps)]


def test_warm_up_rises_evenly_and_never_starts_at_zero() -> None:
    rates = curve(ScheduleSpec(warmup_epochs=1))
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1.0


def test_a_warm_up_takes_half_the_run_at_most() -> None:
    rates = curve(ScheduleSpec(warmup_epochs=5), epochs=2)
    assert max(rates) == rates[10] == 1.0


def test_cosine_falls_from_the_top_to_the_final_share() -> None:
    rates = curve(ScheduleSpec(warmup_epochs=0, final_fraction=0.1))
    assert rates[0] == 1.0
    assert rates[50] == pytest.approx(0.55)
    assert rates == sorted(rates, reverse=True)
    assert 0.1 < rates[-1] < 0.102


def test_constant_stays() -> None:
    assert set(curve(ScheduleSpec(name="constant", warmup_epochs=0))) == {1.0}


def test_wsd_is_stable_and_then_decays_evenly() -> None:
    rates = curve(ScheduleSpec(name="wsd", warmup_epochs=0, decay_fraction=0.2))
    assert set(rates[:81]) == {1.0}
    assert rates[80:] == pytest.approx([1 - step / 20 for step in range(20)])


def test_a_warm_up_in_steps_counts_instead_of_one_in_epochs() -> None:
    rates = curve(ScheduleSpec(warmup_epochs=5, warmup_steps=3))
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4] < 1.0


def test_linear_falls_evenly_to_the_final_share() -> None:
    rates = curve(ScheduleSpec(name="linear", warmup_epochs=2, final_fraction=0.5))
    assert rates[20:] == pytest.approx([1 - 0.5 * step / 80 for step in range(80)])


def test_noam_rises_to_its_top_and_falls_by_the_inverse_root() -> None:
    rates = curve(ScheduleSpec(name="noam", warmup_steps=15))
    # d^-0.5 min(t^-0.5, t w^-1.5) of the paper, with w = 16 and the top divided out.
    wanted = [min(t**-0.5, t * 16**-1.5) * math.sqrt(16) for t in range(1, 101)]
    assert rates == pytest.approx(wanted)
    assert max(rates) == rates[15] == 1.0


@pytest.mark.parametrize(("epochs", "steps"), [(10, 10), (3, 7), (1, 5), (1, 1), (1, 2), (1, 3)])
def test_one_cycle_is_that_of_torch(epochs: int, steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=epochs * steps)
    wanted = []
    for step in range(epochs * steps):
        wanted.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if step + 1 < epochs * steps:
            scheduler.step()
    assert curve(ScheduleSpec(name="one_cycle"), epochs, steps) == pytest.approx(wanted, rel=1e-9)


def test_one_cycle_can_be_told_where_its_top_is_and_where_it_ends() -> None:
    rates = curve(ScheduleSpec(name="one_cycle", warmup_steps=10, final_fraction=0.1))
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["cosine", "constant", "wsd", "noam", "one_cycle", "linear"])
def test_every_rate_is_above_zero_and_at_most_the_top_however_short_the_run(name: Any) -> None:
    for epochs, steps in ((1, 1), (1, 2), (2, 1), (1, 3), (4, 25)):
        for rate in curve(ScheduleSpec(name=name), epochs, steps) + curve(
            ScheduleSpec(name=name, warmup_steps=50), epochs, steps
        ):
            assert 0 < rate <= 1.0
