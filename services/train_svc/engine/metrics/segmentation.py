"""How well areas of pictures are found: mean intersection over union, and the share of right pixels."""

import numpy as np

from services.train_svc.engine.metrics.classification import ConfusionTable, predicted
from services.train_svc.engine.metrics.metric import Array, Arrays, check_labels, scores_of, target
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import LossSpec


class Segmentation:
    """`miou` and `accuracy` of pixels.

    mIoU is the mean over classes of the Jaccard index TP / (TP + FP + FN) over all pictures together (Everingham et al.
    2010, PASCAL VOC), by scikit-learn; a class that was neither labelled nor predicted does not count.
    """

    def __init__(self, loss: LossSpec, classes: int | None = None) -> None:
        self._loss = loss
        self._table = ConfusionTable(classes)

    def update(self, outputs: Arrays, targets: Arrays) -> None:
        """Count scores `logits` [batch, classes, h, w], enlarged to `labels` [batch, height, width]."""
        scores, labels = scores_of(self._loss, outputs), target(targets)
        if scores.ndim != 4 or labels.ndim != 3 or len(scores) != len(labels):  # noqa: PLR2004 - number of axes
            message = f"labels are {list(labels.shape)} and scores {list(scores.shape)}"
            raise fault("targets.labels", f"{message}; wanted [batch, height, width] and [batch, classes, h, w]")
        # Picture by picture, since the enlarged scores of a batch take gigabytes.
        for picture, truth in zip(scores, labels, strict=True):
            self._count(picture.astype(np.float32, copy=False), truth)

    def _count(self, scores: Array, labels: Array) -> None:
        kept = labels != self._loss.ignored
        check_labels(labels[kept], len(scores))
        best = predicted(np.moveaxis(enlarged(scores, labels.shape), 0, -1))
        self._table.add(labels[kept], best[kept], len(scores))

    def result(self) -> dict[str, float]:
        """Return the mean over classes, and the share of right pixels."""
        total = int(self._table.counts.sum())
        if not total:
            return {}
        right = int(self._table.counts.trace()) - int(self._table.counts[-1, -1])
        return {"miou": self._table.score("jaccard_score", "macro")[0], "accuracy": right / total}


def enlarged(scores: Array, shape: tuple[int, ...]) -> Array:
    """Return scores [classes, h, w] as [classes, *shape], bilinear between the centres of pixels.

    The same as torch's `interpolate(mode="bilinear", align_corners=False)`.
    """
    for axis, size in zip((1, 2), shape, strict=True):
        scores = _stretch(scores, axis, size)
    return scores


def _stretch(scores: Array, axis: int, size: int) -> Array:
    there = scores.shape[axis]
    if there == size:
        return scores
    places = np.maximum((np.arange(size, dtype=np.float32) + 0.5) * there / size - 0.5, 0)
    before = np.minimum(places.astype(np.int64), there - 1)
    after = np.minimum(before + 1, there - 1)
    share = (places - before).astype(np.float32).reshape([-1 if index == axis else 1 for index in range(3)])
    low: Array = scores.take(before, axis)
    between: Array = low + (scores.take(after, axis) - low) * share
    return between
