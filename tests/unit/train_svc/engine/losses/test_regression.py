"""Distances of numbers against their formulas."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.train_svc.engine.spec import LossSpec
from tests.unit.train_svc.engine.losses.cases import scores
from tests.unit.train_svc.engine.losses.engines import both

ERRORS: dict[Any, Callable[[np.ndarray], np.ndarray]] = {
    "squared": lambda error: error**2,
    "absolute": np.abs,
    "huber": lambda error: np.where(np.abs(error) <= 1, error**2 / 2, np.abs(error) - 0.5),
}


@pytest.mark.parametrize("form", ERRORS)
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 6, 2)])
def test_it_is_the_mean_over_all_numbers(form: Any, shape: tuple[int, ...]) -> None:
    given, labels = scores(*shape), scores(*shape, seed=1)
    found = both(LossSpec(name="regression", form=form), {"logits": given}, {"labels": labels})
    np.testing.assert_allclose(found.mean, ERRORS[form](given - labels).mean(), rtol=1e-5)
    assert found.weight == given.size


@pytest.mark.parametrize("form", ERRORS)
@pytest.mark.parametrize("kind", [bool, np.int64, np.float32])
def test_only_numbers_under_the_mask_count_even_beside_nan(form: Any, kind: type) -> None:
    given, labels = scores(4, 5), scores(4, 5, seed=1)
    mask = np.random.default_rng(0).random((4, 5)) > 0.4
    wanted = ERRORS[form](given - labels)[mask].mean()
    labels[~mask] = np.nan
    targets = {"labels": labels, "mask": mask.astype(kind)}
    found = both(LossSpec(name="forecast", form=form), {"forecast": given}, targets)
    np.testing.assert_allclose(found.mean, wanted, rtol=1e-5)
    assert found.weight == mask.sum()
    assert not found.gradients["forecast"][~mask].any()


def test_labels_may_be_whole_numbers() -> None:
    targets = {"labels": np.array([[1], [2]])}
    assert both(LossSpec(name="regression"), {"logits": np.zeros((2, 1), np.float32)}, targets).mean == 2.5
