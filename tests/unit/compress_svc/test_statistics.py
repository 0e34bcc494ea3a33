import numpy as np
import pytest

from services.compress_svc.engine.statistics import paired_drop, proportion


def pairs(both: int, lost: int, gained: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    parent = np.array([True] * (both + lost) + [False] * (gained + neither))
    variant = np.array([True] * both + [False] * lost + [True] * gained + [False] * neither)
    return parent, variant


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((54, 0, 0, 0), -0.0664, 0.0664)],
)
def test_the_paired_interval_is_newcombes(table: tuple[int, int, int, int], low: float, high: float) -> None:
    # The first is an example of Newcombe 1998; the second follows from Wilson's lower bound of 54 of 54 by hand.
    # Wilson: z**2 / (n + z**2) = 3.84146 / 57.84146 = 0.06641; without correlation, the root of its square.
    drop = paired_drop(*pairs(*table))
    assert [drop.ci_low, drop.ci_high] == pytest.approx([low, high], abs=1e-4)


def test_models_that_agree_everywhere_still_have_an_interval() -> None:
    drop = paired_drop(*pairs(265, 0, 0, 5))
    assert drop.value == 0.0
    assert -0.03 < drop.ci_low < 0.0 < drop.ci_high < 0.03


def test_the_interval_turns_round_with_its_sign() -> None:
    parent, variant = pairs(80, 15, 3, 2)
    there, back = paired_drop(parent, variant), paired_drop(variant, parent)
    assert (there.value, there.ci_low, there.ci_high) == pytest.approx((-back.value, -back.ci_high, -back.ci_low))


def test_wilsons_interval() -> None:
    found = proportion(81, 263)
    assert [found.ci_low, found.ci_high] == pytest.approx([0.2553, 0.3662], abs=5e-5)
