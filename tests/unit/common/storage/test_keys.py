"""Keys that every storage can hold, and those that none may."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidError
from services.common.storage.keys import check_key, check_prefix
from services.common.storage.parts import PART_BYTES, PartCutter


@pytest.mark.parametrize(
    "key", ["a", "blobs/sha256/ab/cd", "a.b/c-d_e", "naïve/名", "a" * 255, "/".join(["a" * 100] * 10)]
)
def test_relative_keys_are_taken(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["a" * 256, "/".join(["a" * 100] * 11), "é" * 128, "\ud800", "a\x7f"])
def test_keys_that_some_storage_cannot_hold_are_refused(key: str) -> None:
    with pytest.raises(InvalidError, match="key"):
        check_key(key)


@given(st.text(max_size=40))
def test_no_key_leaves_its_folder(key: str) -> None:
    try:
        check_key(key)
    except InvalidError:
        return
    assert all(part not in {"", ".", ".."} for part in key.split("/"))
    assert key.isprintable() or not any(ord(letter) < 32 for letter in key)


def test_a_prefix_may_be_empty_or_end_with_a_slash() -> None:
    assert check_prefix("") == ""
    assert check_prefix("a/") == "a/"
    with pytest.raises(InvalidError):
        check_prefix("../")


@given(st.lists(st.integers(0, 3 * PART_BYTES // 2), max_size=6), st.integers(0, 1000))
def test_parts_lie_end_to_end_whatever_the_chunks(sizes: list[int], offset: int) -> None:
    cutter = PartCutter(offset)
    found = [part for size in sizes for part in cutter.feed(bytes(size))] + list(cutter.rest())
    reached = offset
    for start, data in found:
        assert start == reached
        reached += len(data)
    assert reached == offset + sum(sizes) == cutter.offset
    assert all(len(data) == PART_BYTES for _, data in found[:-1])
