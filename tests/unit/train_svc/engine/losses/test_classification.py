"""Cross entropy of classes, places, tokens and pixels against loops and libraries."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from services.train_svc.engine.spec import LossSpec
from tests.unit.train_svc.engine.losses.cases import cross_entropy, labelling, masked_lm, scores, segmentation
from tests.unit.train_svc.engine.losses.engines import both, log_softmax


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("make", [cross_entropy, labelling])
def test_it_is_the_mean_over_the_labels_that_count(make, smoothing: float) -> None:
    spec, outputs, targets = make()
    labels, logs = targets["labels"], log_softmax(outputs["logits"])
    wanted, count = 0.0, 0
    for place in np.argwhere(labels != spec.ignored):
        row = logs[tuple(place)]
        wanted -= (1 - smoothing) * row[labels[tuple(place)]] + smoothing * row.mean()
        count += 1
    found = both(spec, outputs, targets, smoothing)
    np.testing.assert_allclose(found.total, wanted, rtol=1e-6)
    assert found.weight == count
    assert not found.gradients["logits"][labels == spec.ignored].any()


def test_another_label_than_usual_may_be_ignored() -> None:
    spec, outputs, targets = LossSpec(ignored=4), {"logits": scores(3, 5)}, {"labels": np.array([1, 4, 2])}
    found = both(spec, outputs, targets)
    logs = log_softmax(outputs["logits"])
    np.testing.assert_allclose(found.mean, -(logs[0, 1] + logs[2, 2]) / 2, rtol=1e-6)


def test_labels_of_32_bits_are_labels_too() -> None:
    spec, outputs, targets = cross_entropy()
    narrow = {"labels": targets["labels"].astype(np.int32)}
    assert both(spec, outputs, narrow).total == both(spec, outputs, targets).total


def test_places_that_were_not_masked_move_nothing() -> None:
    spec, outputs, targets = masked_lm()
    before = both(spec, outputs, targets)
    outputs["logits"][targets["labels"] == spec.ignored] += 3
    after = both(spec, outputs, targets)
    assert after.total == before.total


@pytest.mark.parametrize("shape", [(8, 10), (3, 4), (5, 9), (2, 3)])
def test_scores_are_enlarged_or_reduced_to_the_labels(shape: tuple[int, int]) -> None:
    given = scores(2, 3, 3, 4)
    labels = np.random.default_rng(0).integers(0, 3, (2, *shape))
    labels[0, 0] = -100
    leaf = torch.from_numpy(given).requires_grad_()
    large = functional.interpolate(leaf, shape, mode="bilinear", align_corners=False)
    wanted = functional.cross_entropy(large, torch.from_numpy(labels), reduction="mean", label_smoothing=0.1)
    wanted.backward()
    assert leaf.grad is not None
    found = both(LossSpec(name="segmentation"), {"logits": given}, {"labels": labels}, 0.1)
    np.testing.assert_allclose(found.mean, wanted.item(), rtol=1e-5)
    np.testing.assert_allclose(found.gradients["logits"], leaf.grad, atol=1e-6)


def test_a_picture_of_which_nothing_counts_moves_nothing() -> None:
    spec, outputs, targets = segmentation()
    targets["labels"][1] = spec.ignored
    assert not both(spec, outputs, targets).gradients["logits"][1].any()
