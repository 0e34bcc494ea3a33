import threading

import numpy as np
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.loading.arrays import ArraySource
from services.train_svc.engine.loading.prefetch import Prefetched
from tests.unit.train_svc.engine.loading.checks import assert_pure, same

WAIT_S = 20


class Numbers:
    """Batch k holds k; it notes what was made, and can be told to fail or to wait."""

    digest, steps_per_epoch = "numbers", 10

    def __init__(self) -> None:
        self.made: list[int] = []
        self.threads: set[int] = set()
        self.faults: dict[int, BaseException] = {}
        self.reached = {step: threading.Event() for step in range(100)}
        self.gates: dict[int, threading.Event] = {}

    def at(self, step: int) -> Batch:
        self.threads.add(threading.get_ident())
        self.made.append(step)
        self.reached[step].set()
        if step in self.gates:
            assert self.gates[step].wait(WAIT_S)
        if step in self.faults:
            raise self.faults[step]
        return Batch(inputs={"input": np.array([step])}, targets={})


def number(source: Prefetched, step: int) -> int:
    return int(source.at(step).inputs["input"][0])


def test_batches_are_those_of_the_source_in_any_order() -> None:
    arrays = {"input": np.arange(20.0)}
    plain = ArraySource(arrays, {}, batch_size=4)
    opened: list[Prefetched] = []

    def make() -> Prefetched:
        opened.append(Prefetched(ArraySource(arrays, {}, batch_size=4)))
        return opened[-1]

    run = assert_pure(make, 7)
    assert all(same(batch, plain.at(step)) for step, batch in enumerate(run))
    for source in opened:
        source.close()


def prefetching() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_the_next_batches_are_made_while_one_is_learnt_from() -> None:
    numbers = Numbers()
    with Prefetched(numbers, depth=2) as source:
        assert number(source, 0) == 0
        assert numbers.reached[2].wait(WAIT_S)
        # Two are ahead: the third waits until one of them is taken.
        assert 3 not in numbers.made
        assert number(source, 1) == 1
        assert numbers.reached[3].wait(WAIT_S)
        for step in range(2, 9):
            assert number(source, step) == step
    assert numbers.made == sorted(set(numbers.made))
    assert threading.get_ident() not in numbers.threads
    assert len(numbers.threads) == 1


def test_a_jump_while_another_batch_is_made_gives_the_right_one() -> None:
    numbers = Numbers()
    numbers.gates[1] = threading.Event()
    with Prefetched(numbers) as source:
        number(source, 0)
        assert numbers.reached[1].wait(WAIT_S)
        threading.Timer(0.05, numbers.gates[1].set).start()
        assert number(source, 50) == 50
        assert number(source, 1) == 1
        assert number(source, 50) == 50


def test_an_error_surfaces_where_its_batch_is_asked_for_and_may_be_tried_again() -> None:
    numbers = Numbers()
    numbers.faults[2] = InvalidError("sample 7 is damaged")
    with Prefetched(numbers) as source:
        assert [number(source, step) for step in (0, 1)] == [0, 1]
        for _ in range(2):
            with pytest.raises(InvalidError, match="sample 7 is damaged"):
                source.at(2)
        assert numbers.made.count(2) == 2
        del numbers.faults[2]
        assert [number(source, step) for step in (2, 3)] == [2, 3]


def test_even_an_exit_in_the_thread_is_raised_where_it_is_waited_for() -> None:
    numbers = Numbers()
    numbers.faults[0] = SystemExit(3)
    with Prefetched(numbers) as source, pytest.raises(SystemExit):
        source.at(0)


def test_closing_ends_the_thread_even_while_a_batch_is_made() -> None:
    numbers = Numbers()
    before = prefetching()
    source = Prefetched(numbers)
    number(source, 0)
    source.close()
    source.close()
    assert prefetching() == before
    with pytest.raises(RuntimeError, match="was closed"):
        source.at(1)


def test_one_that_rests_has_no_thread_until_it_is_asked_again() -> None:
    before = prefetching()
    with Prefetched(Numbers()) as source:
        assert number(source, 3) == 3
        source.rest()
        source.rest()
        assert prefetching() == before
        assert [number(source, step) for step in (4, 0, 1)] == [4, 0, 1]
        assert prefetching() == before + 1
    assert prefetching() == before


def test_one_that_was_never_asked_has_no_thread() -> None:
    before = prefetching()
    with Prefetched(Numbers()) as source:
        assert (source.digest, source.steps_per_epoch) == ("numbers", 10)
        assert prefetching() == before
