"""Against torch's cross entropy."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from services.common.errors import InvalidError
from services.train_svc.engine.metrics import build_metrics
from services.train_svc.engine.metrics.language import Perplexity, perplexity
from services.train_svc.engine.spec import LossSpec

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(size=(4, 700, 9), scale=5).astype(np.float32)
LABELS = RANDOM.integers(0, 9, (4, 700))
LABELS[RANDOM.random((4, 700)) < 0.8] = -100


@pytest.mark.parametrize("name", ["language_model", "masked_lm"])
def test_batches_give_the_perplexity_and_the_accuracy_of_all_places_at_once(name: str) -> None:
    metrics = build_metrics(LossSpec(name=name), classes=None)  # type: ignore[arg-type]  # a parameter of the test
    for row in range(4):
        for metric in metrics:
            metric.update({"logits": SCORES[row : row + 1]}, {"labels": LABELS[row : row + 1]})
    loss = cross_entropy(torch.from_numpy(SCORES).flatten(0, 1), torch.from_numpy(LABELS).flatten())
    kept = LABELS != -100
    found = {name: value for metric in metrics for name, value in metric.result().items()}
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert found["accuracy"] == pytest.approx((SCORES.argmax(-1) == LABELS)[kept].mean())


def test_large_scores_do_not_overflow() -> None:
    metric = Perplexity(LossSpec(name="language_model"))
    metric.update({"logits": np.array([[[1e4, 0.0]]])}, {"labels": np.array([[0]])})
    assert metric.result() == {"perplexity": 1.0}


def test_what_no_number_holds_is_infinite() -> None:
    assert perplexity(1e4) == math.inf
    assert math.isnan(perplexity(math.nan))


def test_nothing_counted_gives_no_value() -> None:
    metric = Perplexity(LossSpec(name="language_model"))
    metric.update({"logits": SCORES}, {"labels": np.full((4, 700), -100)})
    assert metric.result() == {}


def test_labels_that_are_not_the_scores_are_named() -> None:
    with pytest.raises(InvalidError, match=r"labels are \[4, 699\]"):
        Perplexity(LossSpec(name="language_model")).update({"logits": SCORES}, {"labels": LABELS[:, 1:]})
