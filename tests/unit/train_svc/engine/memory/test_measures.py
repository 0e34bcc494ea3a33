"""Measures, the places that have a label, and what is said when memory ran out."""

import numpy as np
import pytest
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.memory import (
    NOTHING,
    Measures,
    explain_out_of_memory,
    is_out_of_memory,
    labelled_places,
    ladder,
    spread,
)


def test_measures_say_what_they_are() -> None:
    assert str(NOTHING) == "no measures"
    assert str(Measures(pieces=4, recompute=0.5, moments="8bit")) == (
        "batch in 4 pieces, 50% of the units recomputed, moments in 8bit"
    )
    with pytest.raises(InvalidError, match="recompute"):
        Measures(recompute=1.5)


def test_the_ladder_offers_what_the_model_and_the_device_have() -> None:
    assert [rung.field for rung in ladder(most_pieces=1)] == []
    assert ladder(most_pieces=6)[0].levels == (2, 4)
    assert [rung.field for rung in ladder(units=2, head=True, offload=True)] == [
        "chunked_head", "pieces", "recompute", "offload_moments", "offload_activations",
    ]  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_units_are_spread_evenly(share: float) -> None:
    chosen = [int(name) for name in spread(map(str, range(12)), share)]
    assert len(chosen) == 12 * share
    assert len(set(np.diff(chosen))) <= (2 if share == 0.75 else 1)


def test_places_are_those_with_a_label_and_some_without() -> None:
    labels = np.full((4, 100), -100)
    labels[np.arange(4), [3, 99, 50, 0]] = 7
    places = labelled_places(labels, -100, multiple=16)
    assert places is not None
    assert places.dtype == np.int64
    assert len(places) == 16
    assert sorted(places[labels.reshape(-1)[places] != -100]) == [3, 199, 250, 300]


def test_the_number_of_places_hardly_changes_from_batch_to_batch() -> None:
    generator = np.random.default_rng(0)
    batches = [np.where(generator.random((64, 512)) < 0.15, 5, -100) for _ in range(50)]
    assert len({len(places) for batch in batches if (places := labelled_places(batch, -100)) is not None}) == 1


def test_where_every_place_has_a_label_none_is_chosen() -> None:
    assert labelled_places(np.zeros((2, 8), int), -100) is None


def test_a_batch_without_a_label_still_has_places() -> None:
    places = labelled_places(np.full((8, 64), -100), -100)
    assert places is not None
    assert len(places) == 16


def test_out_of_memory_is_known_from_each_engine() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(type("ResourceExhaustedError", (Exception,), {})("OOM when allocating"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_out_of_memory_says_what_to_lower_and_by_how_much() -> None:
    error = explain_out_of_memory(
        torch.OutOfMemoryError(), batch=64, pieces=2, peak_bytes=7 * 2**30, device_bytes=8 * 2**30
    )
    assert error is not None
    assert error.message == (
        "train.batch_size: the device's memory of 8.0 GiB ran out after 7.0 GiB were taken with 32 samples at once; "
        "set one of: train.accumulate: 4 (now 2), which gives the same gradient; train.memory_budget: 7.2GiB; "
        "train.batch_size: 32 (now 64)"
    )
    single = explain_out_of_memory(MemoryError(), batch=2, pieces=2)
    assert single is not None
    assert "one sample at once" in single.message
    assert explain_out_of_memory(ValueError("no"), batch=2, pieces=1) is None
