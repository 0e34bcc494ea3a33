import numpy as np
import pytest

from services.train_svc.engine.checkpointing import HostCopies
from services.train_svc.engine.checkpointing.dtypes import Array
from services.train_svc.engine.checkpointing.hostcopy import PIECE_BYTES


def test_a_copy_equals_the_arrays_and_stays_while_they_change(state: dict[str, Array]) -> None:
    wanted = {name: array.copy() for name, array in state.items()}
    copy = HostCopies().begin(state)
    copy.wait()
    for array in state.values():
        array[...] = np.zeros_like(array)
    found = copy.tensors()
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert copy.size_bytes == sum(array.nbytes for array in wanted.values())


@pytest.mark.parametrize("count", [1, PIECE_BYTES // 4 - 1, PIECE_BYTES // 4, PIECE_BYTES // 2 + 5])
def test_no_number_is_lost_where_pieces_meet(count: int) -> None:
    array = np.random.default_rng(0).random(count, dtype=np.float32)
    assert np.array_equal(HostCopies().begin({"x": array}).tensors()["x"], array)


def test_an_array_in_another_order_of_memory_is_copied_by_its_values() -> None:
    array = np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)
    assert np.array_equal(HostCopies().begin({"x": array}).tensors()["x"], array)


def test_no_arrays_make_an_empty_copy() -> None:
    copy = HostCopies().begin({})
    assert (copy.tensors(), copy.size_bytes) == ({}, 0)


def test_memory_that_somebody_holds_a_part_of_is_not_used_again() -> None:
    copies = HostCopies()
    source = np.zeros(1 << 20)
    held = copies.begin({"x": source}).tensors()["x"][5:9]
    for value in range(1, 4):
        source[:] = value
        assert copies.begin({"x": source}).tensors()["x"].max() == value
    assert held.tolist() == [0, 0, 0, 0]


def test_memory_that_nobody_holds_is_used_again() -> None:
    copies = HostCopies()
    source = np.zeros(1 << 20)
    first = copies.begin({"x": source}).tensors()["x"].ctypes.data
    assert copies.begin({"x": source}).tensors()["x"].ctypes.data == first


def test_reserved_memory_serves_the_first_copy_and_no_old_byte_shines_through() -> None:
    copies = HostCopies()
    source = np.arange(float(1 << 20))
    copies.reserve({"x": source})
    # Copies and reservations take turns, so that it is ready once this one is made.
    copies.begin({}).wait()
    assert np.array_equal(copies.begin({"x": source}).tensors()["x"], source)
