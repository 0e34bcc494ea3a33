from collections.abc import Callable

import numpy as np
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.loading.augmented import Augmented
from services.train_svc.engine.loading.pictures import PictureBatches, PictureSource
from services.train_svc.engine.pictures import MemorySplit
from services.train_svc.engine.spec import AugmentSpec, MixSpec
from tests.unit.train_svc.engine.loading.checks import assert_pure, same

Make = Callable[[int, int], MemorySplit]


def test_batches_are_pure_and_an_epoch_has_every_full_batch_once(make_split: Make) -> None:
    split = make_split(0, 50)
    run = assert_pure(lambda: PictureSource(split, digest="d", batch_size=16, seed=1), 9)
    assert PictureSource(split, digest="d", batch_size=16).steps_per_epoch == 3
    for epoch in range(3):
        ids = [name for batch in run[3 * epoch : 3 * epoch + 3] for name in batch.ids]
        assert len(set(ids)) == 48
    assert run[0].ids != run[3].ids


def test_a_batch_has_the_pictures_and_labels_of_its_ids(make_split: Make) -> None:
    split = make_split(0, 50)
    batch = PictureSource(split, digest="d", batch_size=16, name="image").at(4)
    places = [list(split.ids).index(name) for name in batch.ids]
    assert batch.inputs["image"].dtype == np.uint8
    np.testing.assert_array_equal(batch.inputs["image"], split.data[places])
    np.testing.assert_array_equal(batch.targets["labels"], split.labels[places])


def test_a_split_smaller_than_a_batch_is_one(make_split: Make) -> None:
    source = PictureSource(make_split(0, 5), digest="d", batch_size=16)
    assert source.steps_per_epoch == 1
    assert sorted(source.at(3).ids) == [f"digit-{index}" for index in range(5)]


def test_one_picture_is_too_few(make_split: Make) -> None:
    with pytest.raises(InvalidError, match="1 samples to train on, wanted 2 or more"):
        PictureSource(make_split(0, 1), digest="d", batch_size=16)


def test_evaluation_sees_every_picture_in_order_each_time(make_split: Make) -> None:
    batches = PictureBatches(make_split(0, 50), batch_size=16)
    for _ in range(2):
        found = list(batches)
        assert [len(batch) for batch in found] == [16, 16, 16, 2]
        assert len(batches) == 4
        assert [name for batch in found for name in batch.ids] == [f"digit-{index}" for index in range(50)]


def test_augmented_batches_are_pure_and_drawn_anew_each_epoch(make_split: Make) -> None:
    split = make_split(0, 8)

    def make(seed: int = 1) -> Augmented:
        source = PictureSource(split, digest="d", batch_size=8, seed=1)
        return Augmented(source, seed=seed, augment=AugmentSpec(erase=0.5), mix=MixSpec(cutmix=1.0))

    run = assert_pure(make, 4)
    assert {"map", "erase", "partner", "box"} <= run[0].draws.keys()
    assert not np.array_equal(run[0].draws["map"], run[1].draws["map"])
    assert not same(make(seed=2).at(0), run[0])
