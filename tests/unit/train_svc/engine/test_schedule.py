import pytest

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
