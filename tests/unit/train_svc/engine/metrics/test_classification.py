"""Against scikit-learn on all samples at once."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from services.common.errors import InvalidError
from services.train_svc.engine.metrics import build_metrics, wilson
from services.train_svc.engine.metrics.classification import Accuracy, Confusion, ConfusionTable
from services.train_svc.engine.spec import LossSpec

SCORES = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 7, 200)


def measure(metrics: list[Any], scores: np.ndarray, labels: np.ndarray, size: int = 64) -> dict[str, float]:
    for start in range(0, len(scores), size):
        rows = slice(start, start + size)
        for metric in metrics:
            metric.update({"logits": scores[rows]}, {"labels": labels[rows]})
    return {name: value for metric in metrics for name, value in metric.result().items()}


def test_batches_count_as_all_samples_at_once() -> None:
    found = measure(build_metrics(LossSpec(name="cross_entropy"), classes=8), SCORES, LABELS)
    best = SCORES.argmax(1)
    right = int((best == LABELS).sum())
    low, high = wilson(right, 200)
    assert found == pytest.approx({
        "accuracy": reference.accuracy_score(LABELS, best),
        "accuracy_ci_low": low,
        "accuracy_ci_high": high,
        "top5_accuracy": reference.top_k_accuracy_score(LABELS, SCORES, k=5, labels=range(8)),
        "f1_macro": reference.f1_score(LABELS, best, average="macro"),
        "f1_micro": reference.f1_score(LABELS, best, average="micro"),
    })  # fmt: skip


def test_the_number_of_classes_may_be_left_to_the_scores() -> None:
    loss = LossSpec(name="cross_entropy")
    given, found = (measure(build_metrics(loss, classes=classes), SCORES, LABELS) for classes in (8, None))
    assert found == given


def test_the_running_table_is_the_confusion_matrix() -> None:
    table = ConfusionTable()
    for rows in (slice(0, 70), slice(70, 200)):
        table.add(LABELS[rows], SCORES.argmax(1)[rows], 8)
    expected = reference.confusion_matrix(LABELS, SCORES.argmax(1), labels=range(8))
    assert (table.counts[:8, :8] == expected).all()
    assert table.counts.sum() == 200


def test_ignored_places_of_a_sequence_never_count() -> None:
    scores, labels = SCORES.reshape(20, 10, 8), LABELS.reshape(20, 10).copy()
    labels[:, 6:] = -100
    found = measure([Accuracy(LossSpec()), Confusion(LossSpec())], scores, labels, size=7)
    kept = labels != -100
    best = scores.argmax(-1)[kept]
    assert found["accuracy"] == pytest.approx((best == labels[kept]).mean())
    assert found["f1_macro"] == pytest.approx(reference.f1_score(labels[kept], best, average="macro"))
    assert "accuracy_ci_low" not in found


def test_scores_that_are_no_numbers_are_wrong() -> None:
    scores = np.full((4, 6), np.nan, np.float32)
    scores[0] = np.eye(6)[0]
    found = measure([Accuracy(LossSpec()), Confusion(LossSpec())], scores, np.zeros(4, np.int64))
    assert found["accuracy"] == found["top5_accuracy"] == 0.25
    assert found["f1_macro"] == pytest.approx(0.4)


def test_nothing_counted_gives_no_value() -> None:
    assert measure(build_metrics(LossSpec(), classes=8), SCORES, np.full(200, -100)) == {}


def test_a_label_outside_the_classes_is_named() -> None:
    with pytest.raises(InvalidError, match="label 9 is none of the 8 classes; wanted 0 to 7"):
        Accuracy(LossSpec()).update({"logits": SCORES[:2]}, {"labels": np.array([1, 9])})


def test_shapes_that_do_not_belong_together_are_named() -> None:
    with pytest.raises(InvalidError, match=r"labels are \[3\] and scores \[2, 8\]"):
        Accuracy(LossSpec()).update({"logits": SCORES[:2]}, {"labels": np.array([1, 2, 3])})


def test_an_output_or_a_target_of_another_name_is_named() -> None:
    labels = {"labels": LABELS[:2]}
    Accuracy(LossSpec()).update({"whatever": SCORES[:2]}, labels)
    with pytest.raises(InvalidError, match="the model gives 'a', 'b'; the loss cross_entropy reads 'logits'"):
        Accuracy(LossSpec()).update({"a": SCORES[:2], "b": SCORES[:2]}, labels)
    with pytest.raises(InvalidError, match="no 'labels', only label"):
        Accuracy(LossSpec()).update({"logits": SCORES[:2]}, {"label": LABELS[:2]})


def test_more_classes_than_a_table_holds_leave_f1_out() -> None:
    assert len(build_metrics(LossSpec(), classes=100_000)) == 1
