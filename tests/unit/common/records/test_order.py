import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidError
from services.common.records import SampleOrder


def order(**changes: object) -> SampleOrder:
    fields: dict[str, object] = {"digest": "sha256:" + "a" * 64, "count": 103, "batch_size": 8, "seed": 3}
    return SampleOrder(**(fields | changes))  # type: ignore[arg-type]  # the tests name the fields


def test_the_order_is_the_one_it_always_was() -> None:
    assert order().epoch(0)[:8].tolist() == [66, 54, 47, 67, 56, 71, 40, 14]


def test_a_batch_can_be_produced_alone() -> None:
    whole = np.concatenate([order().batch(2, step) for step in range(order().steps_per_epoch)])
    assert whole.tolist() == order().epoch(2).tolist()
    assert order().batch(2, 5).tolist() == whole[40:48].tolist()


@given(world=st.integers(1, 8), step=st.integers(0, 12))
def test_the_global_batch_does_not_change_with_the_world_size(world: int, step: int) -> None:
    shares = [order(world_size=world, rank=rank).batch(1, step).tolist() for rank in range(world)]
    assert sorted(itertools.chain(*shares)) == sorted(order().batch(1, step).tolist())


@given(count=st.integers(1, 300), batch=st.integers(1, 50), seed=st.integers(0, 9), epoch=st.integers(0, 3))
def test_every_record_comes_once_an_epoch(count: int, batch: int, seed: int, epoch: int) -> None:
    chosen = order(count=count, batch_size=batch, seed=seed)
    seen = [index for step in range(chosen.steps_per_epoch) for index in chosen.batch(epoch, step).tolist()]
    assert sorted(seen) == list(range(count))


def test_seeds_and_epochs_give_other_orders() -> None:
    orders = {tuple(order(seed=seed).epoch(epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_steps_count_on_over_epochs() -> None:
    assert order().at(order().steps_per_epoch + 2).tolist() == order().batch(1, 2).tolist()


def test_without_shuffling_the_records_keep_their_order() -> None:
    assert order(shuffle=False).batch(0, 1).tolist() == list(range(8, 16))


def test_a_short_last_batch_can_be_dropped() -> None:
    assert order(drop_last=True).steps_per_epoch == 12
    assert order().steps_per_epoch == 13


@pytest.mark.parametrize("changes", [{"count": 0}, {"batch_size": 0}, {"world_size": 4, "rank": 4}, {"world_size": 9}])
def test_an_order_without_batches_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        order(**changes)


def test_a_step_past_the_epoch_is_refused() -> None:
    with pytest.raises(InvalidError, match=r"0\.\.12"):
        order().batch(0, 13)
