from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.loading.arrays import ArrayBatches, ArraySource
from tests.unit.train_svc.engine.loading.checks import assert_pure

COUNT = 23
NUMBERS = np.random.default_rng(0).standard_normal((COUNT, 4))
KINDS = np.arange(COUNT, dtype=np.int32)
LABELS = np.arange(COUNT) % 3


def source(**more: Any) -> ArraySource:
    arguments = {"inputs": {"numbers": NUMBERS, "kinds": KINDS}, "targets": {"labels": LABELS}, "batch_size": 5}
    return ArraySource(**{**arguments, **more})


def test_batches_are_pure_and_rows_stay_together() -> None:
    for batch in assert_pure(source, 10):
        rows = batch.inputs["kinds"]
        np.testing.assert_array_equal(batch.inputs["numbers"], NUMBERS[rows].astype(np.float32))
        np.testing.assert_array_equal(batch.targets["labels"], LABELS[rows])
        assert batch.ids == [str(row) for row in rows]
    assert source().steps_per_epoch == 4


def test_types_are_those_that_models_take() -> None:
    batch = source(targets={"labels": LABELS, "masks": LABELS > 0, "bytes": LABELS.astype(np.uint8)}).at(0)
    types = {name: array.dtype for name, array in {**batch.inputs, **batch.targets}.items()}
    wanted = {"numbers": np.float32, "kinds": np.int64, "labels": np.int64, "masks": np.bool_, "bytes": np.uint8}
    assert types == {name: np.dtype(kind) for name, kind in wanted.items()}


def test_windows_of_a_mapped_series_are_read_where_they_lie(tmp_path: Path) -> None:
    np.save(tmp_path / "series.npy", np.arange(100.0))
    series = np.load(tmp_path / "series.npy", mmap_mode="r")
    windows = np.lib.stride_tricks.sliding_window_view(series, 12)
    made = ArraySource({"history": windows[:, :8]}, {"labels": windows[:, 8:]}, batch_size=10).at(0)
    np.testing.assert_array_equal(made.targets["labels"][:, 0], made.inputs["history"][:, -1] + 1)


def test_the_digest_is_that_of_the_content() -> None:
    changed = NUMBERS.copy()
    changed[7, 2] += 1
    digests = [source().digest, source(inputs={"numbers": changed, "kinds": KINDS}).digest]
    digests += [source(inputs={"n": NUMBERS, "kinds": KINDS}).digest, source(targets={"labels": LABELS + 1}).digest]
    assert len(set(digests)) == 4
    assert source(seed=4).digest == source().digest
    assert source(digest="mine").digest == "mine"


def test_evaluation_sees_every_row_in_order() -> None:
    batches = list(ArrayBatches({"kinds": KINDS}, {"labels": LABELS}, batch_size=10))
    np.testing.assert_array_equal(np.concatenate([batch.inputs["kinds"] for batch in batches]), KINDS)
    assert [len(batch) for batch in batches] == [10, 10, 3]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"inputs": {}}, "no inputs"),
        ({"targets": {"labels": LABELS[:4]}}, "inputs.numbers 23, inputs.kinds 23, targets.labels 4"),
        ({"ids": ["a"]}, "ids 1"),
        ({"inputs": {"words": np.array(["a"] * COUNT)}}, "wanted a NumPy array of numbers"),
        ({"inputs": {"list": [1, 2]}}, "got list, wanted a NumPy array"),
        ({"inputs": {"one": np.float32(3)}}, "wanted a NumPy array"),
        ({"inputs": {"n": NUMBERS[:1]}, "targets": {}}, "1 samples to train on"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        source(**more)
