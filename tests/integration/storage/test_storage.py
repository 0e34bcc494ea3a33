"""What both storages do, on the real thing."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from services.common.errors import InvalidError, NotFoundError
from services.common.storage import FolderStorage, Storage

MIB = 1 << 20


def test_bytes_come_back_whole_and_in_ranges(storage: Storage) -> None:
    assert storage.put("a/b/c", b"0123456789") == 10
    assert storage.get("a/b/c") == b"0123456789"
    assert storage.get("a/b/c", 3) == b"3456789"
    assert storage.get("a/b/c", 3, 4) == b"3456"
    assert storage.get("a/b/c", 8, 100) == b"89"
    assert storage.get("a/b/c", 2, 0) == b""
    assert storage.get("a/b/c", 50, 5) == b""
    assert b"".join(storage.stream("a/b/c", 1, 2)) == b"12"


@pytest.mark.parametrize("size", [0, 1, 16 * MIB, 16 * MIB + 1, 40 * MIB])
def test_a_file_of_any_size_is_put(storage: Storage, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    assert storage.put("file", path) == size
    assert storage.size("file") == size
    assert b"".join(storage.stream("file")) == data


def test_a_stream_of_uneven_chunks_is_put(storage: Storage) -> None:
    data = os.urandom(20 * MIB + 5)
    cuts = [0, 1, 7, 5 * MIB, 18 * MIB, len(data)]
    assert storage.put("stream", (data[a:b] for a, b in itertools.pairwise(cuts))) == len(data)
    assert storage.get("stream") == data


def test_a_put_writes_over_what_was_there(storage: Storage) -> None:
    storage.put("key", b"old and longer")
    storage.put("key", b"new")
    assert storage.get("key") == b"new"
    assert storage.stat("key").modified_s > 1e9


def test_a_broken_source_leaves_the_old_object(storage: Storage) -> None:
    storage.put("key", b"old")

    def broken() -> list[bytes]:
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        storage.put("key", (chunk for _ in range(1) for chunk in broken()))
    with pytest.raises(ConnectionResetError):
        storage.put_named((chunk for _ in range(1) for chunk in broken()), lambda: "key")
    assert storage.get("key") == b"old"
    assert [found.key for found in storage.list()] == ["key"]


def test_what_is_absent_is_not_found(storage: Storage) -> None:
    assert not storage.exists("no/such")
    for read in (storage.get, storage.stat, storage.size, storage.stream):
        with pytest.raises(NotFoundError, match="no/such"):
            read("no/such")
    storage.delete("no/such")


def test_a_folder_of_objects_is_no_object(storage: Storage) -> None:
    storage.put("a/b", b"x")
    assert not storage.exists("a")
    with pytest.raises(NotFoundError):
        storage.stat("a")
    with pytest.raises(NotFoundError):
        storage.get("a")


def test_a_list_holds_a_prefix_in_order(storage: Storage) -> None:
    for key in ("b/2", "b/1", "b/10/x", "b-a", "c", "bc"):
        storage.put(key, key.encode())
    assert [found.key for found in storage.list("b/")] == ["b/1", "b/10/x", "b/2"]
    assert [found.key for found in storage.list("b")] == ["b-a", "b/1", "b/10/x", "b/2", "bc"]
    assert [found.key for found in storage.list("b/1")] == ["b/1", "b/10/x"]
    assert [found.key for found in storage.list("nothing/")] == []
    assert [found.size for found in storage.list("c")] == [1]


def test_a_deleted_object_is_gone_and_its_siblings_stay(storage: Storage) -> None:
    storage.put("a/1", b"1")
    storage.put("a/2", b"2")
    storage.delete("a/1")
    assert [found.key for found in storage.list()] == ["a/2"]
    storage.delete("a/2")
    assert list(storage.list()) == []
    storage.put("a/3", b"3")
    assert storage.get("a/3") == b"3"


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "a/../b", "..", "a//b", "a/", "a\nb", "a\0b", ".incoming/x", "a\\b"]
)
def test_a_key_that_leaves_its_place_is_refused(storage: Storage, key: str) -> None:
    for call in (storage.get, storage.delete, storage.exists, storage.presign_get):
        with pytest.raises(InvalidError, match="key"):
            call(key)
    with pytest.raises(InvalidError):
        storage.put(key, b"")


def test_many_threads_put_and_read_at_once(storage: Storage) -> None:
    def work(number: int) -> bool:
        data = bytes([number]) * 100_000
        storage.put(f"threads/{number}/{number}", data)
        storage.put("threads/same", b"same")
        found = storage.get(f"threads/{number}/{number}")
        storage.delete(f"threads/{number}/{number}")
        return found == data

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(100)))
    assert [found.key for found in storage.list()] == ["threads/same"]


def test_presigned_addresses_give_and_take_where_the_store_has_them(storage: Storage) -> None:
    put, get = storage.presign_put("signed"), storage.presign_get("signed")
    if isinstance(storage, FolderStorage):
        assert put is None
        assert get is None
        return
    assert put
    assert get
    assert httpx.put(put, content=b"through the address").is_success
    assert httpx.get(get).content == b"through the address"
    assert storage.get("signed") == b"through the address"
