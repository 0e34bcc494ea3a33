"""Content-addressed bytes and their cache, on both storages."""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.common.digest import digest_bytes
from services.common.errors import InvalidError, NotFoundError
from services.common.storage import BlobCache, BlobStore, CorruptError, FolderStorage, Storage, blob_key

MIB = 1 << 20


def test_bytes_files_and_streams_have_one_digest(storage: Storage, tmp_path: Path) -> None:
    data = os.urandom(17 * MIB + 3)
    path = tmp_path / "file"
    path.write_bytes(data)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    for number, put in enumerate(
        (lambda b: b.put_bytes(data), lambda b: b.put_file(path), lambda b: b.put_stream([data]))
    ):
        blobs = BlobStore(storage)
        assert put(blobs) == digest, number
        assert blobs.size(digest) == len(data)
        assert blobs.read(digest) == data
        blobs.delete(digest)
        assert not blobs.exists(digest)


def test_a_key_is_made_of_the_digest() -> None:
    assert blob_key("sha256:ab" + "c" * 62) == "blobs/sha256/ab/" + "c" * 62
    with pytest.raises(InvalidError, match="not a digest"):
        blob_key("sha256:../../etc")


def test_a_blob_that_is_there_is_not_written_again(storage: Storage, tmp_path: Path) -> None:
    blobs = BlobStore(storage)
    digest = blobs.put_bytes(b"data")
    storage.put(blob_key(digest), b"marked")
    (tmp_path / "file").write_bytes(b"data")
    assert {blobs.put_bytes(b"data"), blobs.put_file(tmp_path / "file"), blobs.put_stream([b"da", b"ta"])} == {digest}
    assert storage.get(blob_key(digest)) == b"marked"


def test_a_blob_put_again_after_long_is_young_again(tmp_path: Path) -> None:
    blobs = BlobStore(FolderStorage(tmp_path))
    digest = blobs.put_bytes(b"wanted")
    day_ago = time.time() - 86_400
    os.utime(tmp_path / blob_key(digest), (day_ago, day_ago))
    assert blobs.age_s(digest) > 80_000
    blobs.put_bytes(b"wanted")
    assert blobs.age_s(digest) < 60


def test_damaged_bytes_are_never_given_as_whole(storage: Storage, tmp_path: Path) -> None:
    blobs = BlobStore(storage)
    digest = blobs.put_bytes(b"data")
    storage.put(blob_key(digest), b"dat4")
    with pytest.raises(CorruptError, match=f"{digest} is damaged"):
        blobs.read(digest)
    with pytest.raises(CorruptError):
        list(blobs.stream(digest))
    with pytest.raises(CorruptError):
        blobs.fetch(digest, tmp_path / "target" / "file")
    assert list((tmp_path / "target").iterdir()) == []


def test_a_stream_with_another_digest_than_expected_is_not_kept(storage: Storage) -> None:
    blobs = BlobStore(storage)
    with pytest.raises(CorruptError, match="send them again"):
        blobs.put_stream([b"other"], expected=digest_bytes(b"data"))
    assert list(blobs.list_digests()) == []
    assert blobs.put_stream(iter([b"da", b"ta"]), expected=digest_bytes(b"data")) == digest_bytes(b"data")


def test_ranges_are_read_and_streamed(storage: Storage) -> None:
    blobs = BlobStore(storage)
    digest = blobs.put_bytes(bytes(range(256)) * 8192)
    assert blobs.read_range(digest, 256, 3) == b"\0\1\2"
    assert b"".join(blobs.open_range(digest, 10, 2 * MIB)) == (bytes(range(256)) * 8192)[10:]


def test_what_is_absent_is_not_found(storage: Storage, tmp_path: Path) -> None:
    blobs = BlobStore(storage)
    digest = digest_bytes(b"never put")
    with pytest.raises(NotFoundError):
        blobs.read(digest)
    with pytest.raises(NotFoundError):
        blobs.fetch(digest, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    blobs.delete(digest)


def test_a_collector_sees_digests_sizes_and_ages(storage: Storage) -> None:
    blobs = BlobStore(storage)
    wanted = {blobs.put_bytes(bytes(size)): size for size in range(5)}
    found = list(blobs.list_digests())
    assert {stat.digest: stat.size for stat in found} == wanted
    assert all(0 <= stat.age_s < 60 for stat in found)


def test_many_threads_put_the_same_blob(storage: Storage) -> None:
    blobs = BlobStore(storage)
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: blobs.put_bytes(b"same" * 1000), range(32)))
    assert blobs.read(digests.pop()) == b"same" * 1000
    assert not digests


class Counting(BlobStore):
    """Counts what is read from the storage."""

    fetched = 0

    def stream(self, digest: str) -> Iterator[bytes]:
        self.fetched += 1
        return super().stream(digest)


def test_a_cached_blob_is_fetched_once_and_a_damaged_one_again(storage: Storage, tmp_path: Path) -> None:
    blobs = Counting(storage)
    digest = blobs.put_bytes(b"weights")
    cache = BlobCache(tmp_path / "cache", blobs, MIB)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(cache.read, [digest] * 16)) == {b"weights"}
    assert blobs.fetched == 1
    path = cache.path(digest)
    path.chmod(0o600)
    path.write_bytes(b"w3ights")
    again = BlobCache(tmp_path / "cache", blobs, MIB)
    assert again.read(digest) == b"weights"
    assert blobs.fetched == 2


def test_the_cache_lets_go_of_what_was_used_longest_ago(tmp_path: Path) -> None:
    blobs = Counting(FolderStorage(tmp_path / "storage"))
    cache = BlobCache(tmp_path / "cache", blobs, 2500)
    digests = [blobs.put_bytes(bytes([n]) * 1000) for n in range(4)]
    with cache.hold(digests[0]):
        for number, digest in enumerate(digests[:3]):
            os.utime(cache.path(digest), (number, time.time() - 1000 + number))
        cache.path(digests[3])
        kept = {f"sha256:{path.parent.name}{path.name}" for path in (tmp_path / "cache").glob("??/*")}
        assert kept == {digests[0], digests[3]}
    cache.path(digests[1])
    assert blobs.fetched == 5


def test_a_fetch_from_the_cache_is_a_copy_of_its_own(tmp_path: Path) -> None:
    blobs = BlobStore(FolderStorage(tmp_path / "storage"))
    digest = blobs.put_bytes(b"weights")
    cache = BlobCache(tmp_path / "cache", blobs, MIB)
    cache.fetch(digest, tmp_path / "copy").write_bytes(b"changed")
    assert cache.read(digest) == b"weights"
