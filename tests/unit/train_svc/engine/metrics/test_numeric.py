"""Against scikit-learn on all samples at once."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from services.common.errors import InvalidError
from services.train_svc.engine.metrics import build_metrics
from services.train_svc.engine.metrics.numeric import Deviation
from services.train_svc.engine.spec import LossSpec

RANDOM = np.random.default_rng(0)
WANTED = RANDOM.normal(size=(50, 6, 2)) * [1, 30] + [1e4, 0]
GIVEN = WANTED + RANDOM.normal(size=WANTED.shape)


def measure(metric: Any, given: np.ndarray, wanted: np.ndarray, mask: np.ndarray | None = None) -> dict[str, float]:
    targets = {"labels": wanted} if mask is None else {"labels": wanted, "mask": mask}
    for start in range(0, len(given), 13):
        rows = slice(start, start + 13)
        metric.update({"output": given[rows]}, {name: array[rows] for name, array in targets.items()})
    found: dict[str, float] = metric.result()
    return found


def test_batches_count_as_all_samples_at_once() -> None:
    (metric,) = build_metrics(LossSpec(name="forecast"), classes=None)
    found = measure(metric, GIVEN, WANTED)
    given, wanted = GIVEN.reshape(50, -1), WANTED.reshape(50, -1)
    mae = reference.mean_absolute_error(wanted, given)
    assert found == pytest.approx({
        "mae": mae,
        "rmse": np.sqrt(((given - wanted) ** 2).mean()),
        "r2": reference.r2_score(wanted, given),
        "mase": mae / np.abs(np.diff(WANTED, axis=1)).mean(),
    })  # fmt: skip


def test_one_number_a_sample_is_a_column_of_its_own() -> None:
    found = measure(Deviation(LossSpec(name="regression")), GIVEN[:, 0, 0], WANTED[:, 0, 0])
    assert found["mae"] == pytest.approx(np.abs(GIVEN - WANTED)[:, 0, 0].mean())
    assert found["r2"] == pytest.approx(reference.r2_score(WANTED[:, 0, 0], GIVEN[:, 0, 0]))
    assert set(found) == {"mae", "rmse", "r2"}


def test_masked_places_never_count_whatever_stands_there() -> None:
    kept = np.ones(WANTED.shape, bool)
    kept[::3, 2:] = False
    wanted = np.where(kept, WANTED, np.nan)
    found = measure(Deviation(LossSpec(name="forecast")), GIVEN, wanted, kept.astype(np.float32))
    assert found["mae"] == pytest.approx(np.abs(GIVEN - WANTED)[kept].mean())
    columns = [
        reference.r2_score(WANTED[kept[:, time, channel], time, channel], GIVEN[kept[:, time, channel], time, channel])
        for time in range(6)
        for channel in range(2)
    ]
    assert found["r2"] == pytest.approx(np.mean(columns))
    pairs = kept[:, 1:] & kept[:, :-1]
    assert found["mase"] == pytest.approx(found["mae"] / np.abs(np.diff(WANTED, axis=1))[pairs].mean())


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_targets_that_never_change_count_as_in_scikit_learn(error: float) -> None:
    wanted = np.full((4, 1), 3.0)
    found = measure(Deviation(LossSpec(name="regression")), wanted + error, wanted)
    assert found["r2"] == reference.r2_score(wanted, wanted + error)


def test_one_sample_has_no_r2() -> None:
    assert measure(Deviation(LossSpec(name="regression")), np.array([1.0]), np.array([3.0])) == {
        "mae": 2.0,
        "rmse": 2.0,
    }


def test_nothing_counted_gives_no_value() -> None:
    assert Deviation(LossSpec(name="regression")).result() == {}
    assert measure(Deviation(LossSpec(name="regression")), GIVEN, WANTED, np.zeros_like(WANTED)) == {}


def test_a_hundred_below_zero_is_a_number_like_any_other() -> None:
    found = measure(Deviation(LossSpec(name="regression")), np.array([-90.0, 5.0]), np.array([-100.0, 5.0]))
    assert found["mae"] == 5.0


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(InvalidError, match=r"labels are \[5, 1\] and the output \[5, 5\]"):
        Deviation(LossSpec(name="regression")).update({"output": np.zeros((5, 5))}, {"labels": np.zeros((5, 1))})
