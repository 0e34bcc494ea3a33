"""A dataset's samples as the model takes them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.common.names import nearest
from services.common.packages import Package
from services.common.records import RecordSet
from services.compress_svc.engine.evaluation import LabelledBatch
from services.compress_svc.engine.graph import Feeds

BATCH = 32
"""Samples run at once; one at a time where they differ in shape or the graph insists on it."""


class Samples:
    """Calibration samples from the training split, evaluation samples from the test split.

    Raises:
        InvalidError: a label of the test split is not among the model's.
    """

    def __init__(self, package: Package, records: RecordSet) -> None:
        signature, self._preprocess = package.signature, package.preprocess
        if len(signature.inputs) != 1:
            names = ", ".join(found.name for found in signature.inputs)
            raise InvalidError(f"the model takes {names}; calibration from a dataset needs exactly one input")
        self._input = signature.inputs[0].name
        open_batch = signature.inputs[0].shape[:1] == (-1,)
        self._batch = BATCH if open_batch and self._preprocess.shape else 1
        self._train, self._test = records.select(split="train"), records.select(split="test")
        self._classes = _classes(package.labels, self._test)

    def calibration(self) -> Iterator[Feeds]:
        """Yield the training split in an order that is the same each time and follows no class."""
        order = np.random.default_rng(0).permutation(len(self._train))
        for rows in _groups(order, self._batch):
            yield self._feeds(self._train, rows)

    def evaluation(self) -> Iterator[LabelledBatch]:
        """Yield the labelled samples of the test split in their order."""
        labelled = np.flatnonzero(self._classes >= 0)
        for rows in _groups(labelled, self._batch):
            yield self._feeds(self._test, rows), self._classes[rows]

    def _feeds(self, records: RecordSet, rows: NDArray[np.int64]) -> Feeds:
        raws = [records.read(int(row)) for row in rows]
        return {self._input: self._preprocess.batch(raws, [records.ids[row] for row in rows])}


def _groups(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _classes(labels: tuple[str, ...], records: RecordSet) -> NDArray[np.int64]:
    """Return each record's class as its place among the model's labels; -1 where it has no label."""
    targets = np.asarray(records.targets, np.int64)
    used = {records.labels[target] for target in np.unique(targets[targets >= 0])}
    unknown = sorted(used - set(labels))
    if unknown:
        raise InvalidError(
            f"the dataset's label {unknown[0]!r} is not among the model's{nearest(unknown[0], labels)}; "
            "compress with a dataset of the classes that the model was trained on"
        )
    place = {label: index for index, label in enumerate(labels)}
    table = np.array([place.get(label, -1) for label in records.labels] + [-1], np.int64)
    return table[targets]
