from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from services.common.errors import InvalidError
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.loading.items import Names
from services.train_svc.engine.loading.iterables import IterableBatches, IterableSource
from tests.unit.train_svc.engine.loading.checks import assert_pure, same

X = np.arange(24, dtype=np.float32).reshape(12, 2)
Y = np.arange(12)


def pairs(size: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(X[start : start + size], Y[start : start + size]) for start in range(0, 12, size)]


def generate() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield from pairs()


class Counted:
    """Re-iterable, without a length, and says how much of it was made."""

    def __init__(self) -> None:
        self.made = 0

    def __iter__(self) -> Iterator[Any]:
        for pair in pairs():
            self.made += 1
            yield pair


class Stateful(Counted):
    """Shuffles by a count of its own, which its state holds."""

    def __init__(self) -> None:
        super().__init__()
        self.place = self.start = 0

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        self.place, self.start = self.start, 0
        while self.place < 3:
            self.made += 1
            self.place += 1
            yield pairs()[self.place - 1]

    def state_dict(self) -> dict[str, int]:
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["place"]


def loader(**more: Any) -> Any:
    data = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return DataLoader(data, batch_size=4, **more)


MAKERS = {
    "list": pairs,
    "generator function": lambda: generate,
    "iterable": Counted,
    "with states": Stateful,
    "loader": loader,
    "shuffling loader": lambda: loader(shuffle=True),
    "loader with its own generator": lambda: loader(shuffle=True, generator=torch.Generator().manual_seed(9)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_batches_are_pure_over_epochs(make: Any) -> None:
    run = assert_pure(lambda: IterableSource(make(), seed=1), 7)
    assert IterableSource(make()).steps_per_epoch == 3
    for epoch in (0, 1):
        labels = np.concatenate([batch.targets["labels"] for batch in run[3 * epoch : 3 * epoch + 3]])
        np.testing.assert_array_equal(np.sort(labels), Y)


def test_a_shuffling_loader_is_in_a_new_order_each_epoch_whatever_the_global_generator_does() -> None:
    source = IterableSource(loader(shuffle=True), seed=1)
    torch.manual_seed(3)
    first = [source.at(step) for step in range(6)]
    torch.manual_seed(4)
    again = IterableSource(loader(shuffle=True), seed=1)
    assert all(same(again.at(step), batch) for step, batch in enumerate(first))
    assert not np.array_equal(first[0].inputs["input"], first[3].inputs["input"])
    assert not same(IterableSource(loader(shuffle=True), seed=2).at(0), first[0])


def test_a_loader_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    IterableSource(loader(shuffle=True)).at(4)
    assert torch.equal(torch.rand(1), expected)


def test_a_sampler_is_told_the_epoch() -> None:
    class Sampler:
        def __init__(self) -> None:
            self.epoch = -1

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __len__(self) -> int:
            return 12

        def __iter__(self) -> Iterator[int]:
            return iter(np.roll(np.arange(12), self.epoch).tolist())

    source = IterableSource(loader(sampler=Sampler()))
    for step in (7, 2, 4):
        expected = np.roll(Y, step // 3)[4 * (step % 3) : 4 * (step % 3) + 4]
        np.testing.assert_array_equal(source.at(step).targets["labels"], expected)


def test_what_can_be_indexed_is_not_gone_through() -> None:
    class Indexed:
        def __len__(self) -> int:
            return 1000

        def __getitem__(self, index: int) -> Any:
            assert index == 999
            return pairs()[0]

    assert len(IterableSource(Indexed()).at(2999)) == 4


def test_going_on_makes_each_batch_once_and_a_jump_leaves_whole_epochs_out() -> None:
    counted = Counted()
    source = IterableSource(counted)
    for step in range(7):
        source.at(step)
    assert counted.made == 7
    source.at(3 * 1000 + 1)
    assert counted.made == 7 + 2


def test_an_iterable_with_states_is_resumed_without_going_through_it() -> None:
    first = IterableSource(Stateful())
    for step in range(5):
        first.at(step)
    position = first.position(5)
    assert position is not None
    resumed = Stateful()
    source = IterableSource(resumed)
    source.resume(5, position)
    for step in range(5, 8):
        assert same(source.at(step), first.at(step))
    assert resumed.made == 3
    assert IterableSource(pairs()).position(1) is None


def test_a_stream_without_end_goes_on_over_epochs() -> None:
    def endless() -> Iterator[Any]:
        for step in iter(int, 1):
            yield from ((X[:2] + step, Y[:2]) for step in range(step, 100))

    source = IterableSource(endless, steps_per_epoch=4)
    assert source.steps_per_epoch == 4
    assert source.at(9).inputs["input"][0, 0] == 9


FORMS = {
    "tuple": (X, Y),
    "list": [X, Y],
    "tensors": (torch.from_numpy(X).requires_grad_(), torch.from_numpy(Y).int()),
    "halves": (torch.from_numpy(X).bfloat16(), torch.from_numpy(Y)),
    "plain lists": (X.tolist(), Y.tolist()),
    "names": ({"input": X}, {"labels": Y}),
    "sequences": ([X], [Y]),
    "parts": {"inputs": {"input": X}, "targets": Y},
    "flat": {"input": X, "labels": Y},
    "batch": Batch(inputs={"input": torch.from_numpy(X)}, targets={"labels": torch.from_numpy(Y)}),
}


@pytest.mark.parametrize("item", FORMS.values(), ids=FORMS)
def test_every_usual_form_is_understood(item: Any) -> None:
    batch = IterableSource([item]).at(0)
    assert (list(batch.inputs), list(batch.targets)) == (["input"], ["labels"])
    assert (type(batch.inputs["input"]), batch.inputs["input"].dtype) == (np.ndarray, np.float32)
    assert batch.targets["labels"].dtype == np.int64
    np.testing.assert_array_equal(batch.inputs["input"], X)
    np.testing.assert_array_equal(batch.targets["labels"], Y)


def test_inputs_get_the_names_that_they_are_given() -> None:
    names = Names(inputs=("tokens", "kinds"), targets=("scores",))
    batch = IterableSource([((X, Y), X)], names=names).at(0)
    assert (list(batch.inputs), list(batch.targets)) == (["tokens", "kinds"], ["scores"])
    flat = IterableSource([{"tokens": X, "scores": Y, "ids": list("abcdefghijkl")}], names=names).at(0)
    assert (list(flat.inputs), list(flat.targets), flat.ids[1]) == (["tokens"], ["scores"], "b")


def test_tensors_of_tensorflow_are_read_too() -> None:
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    run = assert_pure(lambda: IterableSource(data), 5)
    np.testing.assert_array_equal(run[4].targets["labels"], Y[4:8])


def go_through(batches: Any, steps_per_epoch: int = 0) -> None:
    source = IterableSource(batches, steps_per_epoch=steps_per_epoch)
    for step in range(2 * source.steps_per_epoch):
        source.at(step)


def once() -> Any:
    made = generate()
    return lambda: made


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        (generate(), "can be gone through once only; give a list, a DataLoader, or a function"),
        (zip([X], [Y], strict=True), "zip, which can be gone through once only"),
        (once(), "returned the same iterator again"),
        (7, "the data is a int, wanted an iterable"),
        ({"input": X}, "the data is a dict, wanted an iterable"),
        ([], "has no batch 1"),
        (lambda: iter(()), "has no batch 1"),
        (loader(sampler=[]), "has no batch 1"),
        ([(X, Y), (X[:0], Y[:0])], "batch 2 of the data: is empty"),
        ([(X, Y), ({"other": X}, Y)], "batch 2 .* lacks inputs.input; has inputs.other besides"),
        ([(X, Y), (X, Y[:3])], r"batch 2 .* different numbers of samples \(inputs.input 12, targets.labels 3\)"),
        ([(X, Y), (X, Y, Y)], "batch 2 .* is a tuple of 3; wanted"),
        ([(X, Y), X], "batch 2 .* is ndarray; wanted"),
        ([(X, Y), None], "batch 2 .* is NoneType; wanted"),
        ([(X, Y), (X, 3)], "batch 2 .* targets.labels is a single number"),
        ([(X, Y), (np.array(["a"]), Y)], "batch 2 .* input: has the type <U1, wanted numbers"),
        ([(X, Y), ({}, Y)], "batch 2 .* has no inputs"),
        ([(X, Y), ([X, X], Y)], "batch 2 .* has 2 arrays for input; give each its name"),
    ],
)
def test_what_is_no_data_is_refused_with_the_batch_named(batches: Any, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        go_through(batches)


def test_passes_of_different_lengths_are_refused() -> None:
    lengths = iter((3, 2))
    with pytest.raises(InvalidError, match="had 3 batches, and pass 2 gave 2; every pass must give as many"):
        go_through(lambda: iter(pairs()[: next(lengths)]), steps_per_epoch=3)


def test_evaluation_goes_through_it_each_time() -> None:
    for batches in (pairs(), generate, loader(shuffle=True)):
        found = IterableBatches(batches)
        first, second = list(found), list(found)
        assert len(first) == 3
        assert all(same(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(InvalidError, match="validation data has no batch 1"):
        list(IterableBatches([]))
