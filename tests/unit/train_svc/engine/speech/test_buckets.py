import numpy as np
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.speech.buckets import BucketOrder

LENGTHS = np.random.default_rng(1).integers(50, 400, 1003)


def order(**changed: object) -> BucketOrder:
    return BucketOrder(**{"digest": "d", "count": len(LENGTHS), "batch_size": 8, "seed": 3, **changed})  # type: ignore[arg-type]  # its own fields


def test_an_epoch_has_each_sample_once_and_leaves_less_than_a_batch_out() -> None:
    batches = order().epoch(0, LENGTHS)
    assert batches.shape == (125, 8)
    assert len(np.unique(batches)) == 1000


def test_who_is_left_out_changes_from_epoch_to_epoch() -> None:
    left = [frozenset(range(len(LENGTHS))) - set(order().epoch(e, LENGTHS).ravel().tolist()) for e in range(4)]
    assert len(set(left)) == 4


def test_batches_waste_little_on_padding_and_do_not_come_in_order_of_length() -> None:
    lengths = LENGTHS[order().epoch(0, LENGTHS)]
    padding = 1 - lengths.sum() / (lengths.max(1) * 8).sum()
    shuffled = LENGTHS[order(window_batches=1).epoch(0, LENGTHS)]
    assert padding < 0.05
    assert padding < (1 - shuffled.sum() / (shuffled.max(1) * 8).sum()) / 2
    assert abs(np.corrcoef(lengths.mean(1)[1:], lengths.mean(1)[:-1])[0, 1]) < 0.3


def test_it_is_a_pure_function_of_digest_seed_and_epoch() -> None:
    first = order().epoch(2, LENGTHS)
    np.testing.assert_array_equal(first, order().epoch(2, LENGTHS))
    for other in (order(seed=4).epoch(2, LENGTHS), order(digest="e").epoch(2, LENGTHS), order().epoch(3, LENGTHS)):
        assert (first != other).mean() > 0.9


def test_more_than_there_is_cannot_be_a_batch() -> None:
    with pytest.raises(InvalidError, match="batch_size 8 is more than the 7 samples; lower it"):
        order(count=7)
