"""Against scikit-learn and torch's interpolation."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch.nn.functional import interpolate

from services.common.errors import InvalidError
from services.train_svc.engine.metrics import build_metrics
from services.train_svc.engine.metrics.segmentation import Segmentation, enlarged
from services.train_svc.engine.spec import LossSpec

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(size=(6, 4, 5, 7)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, (6, 20, 21))
LABELS[:, :2] = -100
LOSS = LossSpec(name="segmentation")


@pytest.mark.parametrize("shape", [(20, 21), (5, 7), (9, 7), (3, 4)])
def test_scores_are_enlarged_as_torch_enlarges_them(shape: tuple[int, int]) -> None:
    expected = interpolate(torch.from_numpy(SCORES), shape, mode="bilinear", align_corners=False).numpy()
    assert np.stack([enlarged(each, shape) for each in SCORES]) == pytest.approx(expected, abs=1e-5)


def test_batches_count_as_all_pictures_at_once() -> None:
    (metric,) = build_metrics(LOSS, classes=4)
    for rows in (slice(0, 4), slice(4, 6)):
        metric.update({"logits": SCORES[rows]}, {"labels": LABELS[rows]})
    enlarged_scores = interpolate(torch.from_numpy(SCORES), (20, 21), mode="bilinear", align_corners=False)
    kept = LABELS != -100
    best = enlarged_scores.argmax(1).numpy()[kept]
    expected = {
        "miou": reference.jaccard_score(LABELS[kept], best, average="macro"),
        "accuracy": reference.accuracy_score(LABELS[kept], best),
    }
    assert metric.result() == pytest.approx(expected)


def test_a_class_that_never_occurs_does_not_count() -> None:
    metric = Segmentation(LOSS, 4)
    labels = np.array([[[0, 0], [1, 1]]])
    metric.update({"logits": np.eye(4, dtype=np.float32)[labels].transpose(0, 3, 1, 2)}, {"labels": labels})
    assert metric.result() == {"miou": 1.0, "accuracy": 1.0}


def test_nothing_counted_gives_no_value() -> None:
    assert Segmentation(LOSS, 4).result() == {}


def test_wrong_shapes_and_labels_are_named() -> None:
    with pytest.raises(InvalidError, match=r"wanted \[batch, height, width\]"):
        Segmentation(LOSS).update({"logits": SCORES}, {"labels": LABELS[0]})
    with pytest.raises(InvalidError, match="label 4 is none of the 4 classes"):
        Segmentation(LOSS).update({"logits": SCORES[:1]}, {"labels": np.full((1, 20, 21), 4)})
