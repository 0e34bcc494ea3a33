from collections.abc import Callable

import pytest
import torch

from services.train_svc.engine.building import build
from services.train_svc.engine.evaluation import evaluate, wilson
from services.train_svc.engine.pictures import MemorySplit, Normalization
from services.train_svc.engine.templates import describe


@pytest.mark.parametrize(
    ("correct", "samples", "low", "high"),
    # Newcombe 1998, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_equals_the_published_one(correct: int, samples: int, low: float, high: float) -> None:
    assert wilson(correct, samples) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_stays_within_zero_and_one() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == 1.0


def test_accuracy_counts_every_sample_once_and_leaves_the_mode(make_split: Callable[..., MemorySplit]) -> None:
    split = make_split(0, 1100)
    model = build(describe("mlp")).train()
    normalization = Normalization.of(split)
    result = evaluate(model, split, normalization)
    with torch.inference_mode():
        scores = model.eval()(normalization.apply(torch.from_numpy(split.data)))
    assert result.samples == 1100
    assert result.accuracy == float((scores.argmax(1).numpy() == split.labels).mean())
    assert evaluate(model.train(), split, normalization).accuracy == result.accuracy
    assert model.training


def test_a_flat_channel_is_not_divided_by_zero(make_split: Callable[..., MemorySplit]) -> None:
    split = make_split(0, 4)
    flat = MemorySplit(ids=split.ids, labels=split.labels, data=split.data * 0 + 255)
    assert Normalization.of(flat) == Normalization(mean=(1.0,), std=(1.0,))
