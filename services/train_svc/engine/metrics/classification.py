"""Right or wrong, class by class: accuracy, top-k accuracy, F1."""

from importlib import import_module

import numpy as np

from services.train_svc.engine.metrics.intervals import wilson
from services.train_svc.engine.metrics.metric import Array, Arrays, counted, scores_of, target
from services.train_svc.engine.spec import LossSpec

TOP = 5


class Accuracy:
    """`accuracy`, and with more than five classes `top5_accuracy`.

    Where each sample has one label, also the 95% Wilson interval `accuracy_ci_low` and `accuracy_ci_high`; places of
    one sequence depend on one another, so that there it would promise too much.
    """

    def __init__(self, loss: LossSpec, *, top: int = TOP) -> None:
        self._loss = loss
        self._top = top
        self._places = self._correct = 0
        self._among_top: int | None = None
        self._is_a_label_a_sample = True

    def update(self, outputs: Arrays, targets: Arrays) -> None:
        """Count scores `logits` [batch, ..., classes] against `labels` [batch, ...]."""
        labels = target(targets)
        scores, chosen = counted(scores_of(self._loss, outputs), labels, self._loss.ignored)
        self._is_a_label_a_sample &= labels.ndim == 1
        self._places += len(chosen)
        self._correct += int((predicted(scores) == chosen).sum())
        if scores.shape[-1] > self._top:
            self._among_top = (self._among_top or 0) + _count_among_top(scores, chosen, self._top)

    def result(self) -> dict[str, float]:
        """Return the shares of the places that count."""
        if not self._places:
            return {}
        found = {"accuracy": self._correct / self._places}
        if self._is_a_label_a_sample:
            found["accuracy_ci_low"], found["accuracy_ci_high"] = wilson(self._correct, self._places)
        if self._among_top is not None:
            found[f"top{self._top}_accuracy"] = self._among_top / self._places
        return found


class Confusion:
    """`f1_macro` and `f1_micro` by scikit-learn, from a running table of labels and predictions.

    A class that was neither labelled nor predicted does not count in the mean over classes.
    """

    def __init__(self, loss: LossSpec, classes: int | None = None) -> None:
        self._loss = loss
        self._table = ConfusionTable(classes)

    def update(self, outputs: Arrays, targets: Arrays) -> None:
        """Count scores `logits` [batch, ..., classes] against `labels` [batch, ...]."""
        scores, chosen = counted(scores_of(self._loss, outputs), target(targets), self._loss.ignored)
        self._table.add(chosen, predicted(scores), scores.shape[-1])

    def result(self) -> dict[str, float]:
        """Return F1 as the mean over classes, and over all places together."""
        return {f"f1_{way}": value for way in ("macro", "micro") for value in self._table.score("f1_score", way)}


class ConfusionTable:
    """How often each class was taken for each; the last column counts scores that were no numbers."""

    def __init__(self, classes: int | None = None) -> None:
        self.counts = np.zeros((0, 0) if classes is None else (classes + 1, classes + 1), np.int64)
        """[classes + 1, classes + 1] by label and prediction."""

    def add(self, labels: Array, predictions: Array, classes: int) -> None:
        """Count places: int labels and predictions of one shape; -1 is the prediction of what was no number."""
        size = classes + 1
        if not self.counts.size:
            self.counts = np.zeros((size, size), np.int64)
        cells = labels.astype(np.int64) * size + np.where(predictions < 0, classes, predictions)
        self.counts += np.bincount(cells.ravel(), minlength=size * size).reshape(size, size)

    def score(self, function: str, average: str) -> list[float]:
        """Return a score of scikit-learn's, such as `f1_score`, in a list; an empty one where nothing was counted."""
        labels, predictions = np.nonzero(self.counts)
        if not len(labels):
            return []
        present = np.union1d(labels, predictions)
        of_classes = present[present < len(self.counts) - 1]
        # Takes more than a second to load.
        compute = getattr(import_module("sklearn.metrics"), function)
        weights = self.counts[labels, predictions]
        options = {"labels": of_classes, "average": average, "sample_weight": weights, "zero_division": 0}
        return [float(compute(labels, predictions, **options))]


def predicted(scores: Array) -> Array:
    """Return the class int64 [...] with the highest of the scores [..., classes]; -1 where one is not a number."""
    best = scores.argmax(axis=-1)
    # The first NaN counts as the highest.
    return np.where(np.isnan(np.take_along_axis(scores, best[..., None], axis=-1)[..., 0]), -1, best)


def _count_among_top(scores: Array, labels: Array, top: int) -> int:
    are_numbers = ~np.isnan(scores).any(axis=-1)
    if not are_numbers.any():
        return 0
    compute = import_module("sklearn.metrics").top_k_accuracy_score
    finite = np.nan_to_num(scores[are_numbers])
    return int(compute(labels[are_numbers], finite, k=top, normalize=False, labels=np.arange(scores.shape[-1])))
