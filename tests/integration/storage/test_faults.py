"""Storages that are away, go away, refuse or are full."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    StorageFullError,
    UnauthorizedError,
    UnavailableError,
)
from services.common.settings import CommonSettings
from services.common.storage import PART_BYTES, BlobStore, FolderStorage, open_storage, write_parts, write_parts_sync

MIB = 1 << 20


def test_an_s3_that_is_away_is_named(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    settings = CommonSettings(
        storage_url="s3://bucket", s3_endpoint=endpoint, s3_access_key="key-id-1", s3_secret_key="secret-1"
    )
    with pytest.raises(UnavailableError, match=endpoint):
        open_storage(settings)


def test_wrong_keys_are_unauthorized(shared_s3: Any) -> None:
    settings = shared_s3.settings("s3://tests").model_copy(update={"s3_secret_key": "not-the-secret"})
    with pytest.raises(UnauthorizedError, match="MODELWRIGHT_S3_SECRET_KEY"):
        open_storage(settings).put("x", b"x")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [("s3://bucket", ""), ("s3://bucket", "localhost:9000"), ("gs://bucket", ""), ("s3://", "http://h:1")],
)
def test_a_wrong_address_is_refused_before_anything_is_asked(url: str, endpoint: str) -> None:
    with pytest.raises(InvalidError):
        open_storage(CommonSettings(storage_url=url, s3_endpoint=endpoint))


def test_every_call_tells_that_s3_went_away(start_s3: Callable[[], Any], tmp_path: Path) -> None:
    server = start_s3()
    storage = open_storage(server.settings("s3://bucket/prefix"))
    storage.put("key", b"data")
    (tmp_path / "large").write_bytes(bytes(20 * MIB))
    server.kill()
    calls: list[Callable[[], object]] = [
        lambda: storage.get("key"),
        lambda: storage.put("key", b"new"),
        lambda: storage.put("large", tmp_path / "large"),
        lambda: storage.exists("key"),
        lambda: storage.delete("key"),
        lambda: list(storage.list()),
        lambda: BlobStore(storage).put_bytes(b"data"),
    ]
    for call in calls:
        with pytest.raises(UnavailableError, match=server.endpoint):
            call()


def test_s3_killed_in_the_middle_of_a_large_put_is_told(start_s3: Callable[[], Any]) -> None:
    server = start_s3()
    storage = open_storage(server.settings("s3://bucket"))

    def chunks() -> Iterator[bytes]:
        for number in range(200):
            if number == 100:
                server.kill()
            yield bytes(MIB)

    with pytest.raises(UnavailableError, match=server.endpoint):
        storage.put("large", chunks())


def test_s3_killed_in_the_middle_of_a_read_is_told(start_s3: Callable[[], Any]) -> None:
    server = start_s3()
    storage = open_storage(server.settings("s3://bucket"))
    storage.put("large", bytes(64 * MIB))
    stream = storage.stream("large")
    assert len(next(stream)) == MIB
    server.kill()
    with pytest.raises(UnavailableError, match=server.endpoint):
        list(stream)


@pytest.mark.parametrize("kind", ["asyncio", "threads"])
def test_an_upload_keeps_its_recorded_parts_when_s3_goes_away(start_s3: Callable[[], Any], kind: str) -> None:
    server = start_s3()
    storage = open_storage(server.settings("s3://bucket"))
    recorded: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(12):
            if number == 8:
                server.kill()
            yield os.urandom(PART_BYTES)

    async def feed() -> AsyncIterator[bytes]:
        for chunk in chunks():
            yield chunk

    async def arecord(offset: int, size: int, digest: str) -> None:
        recorded.append(offset)

    def upload() -> None:
        if kind == "threads":
            write_parts_sync(storage, "up_1", 0, chunks(), lambda offset, *_: recorded.append(offset))
        else:
            asyncio.run(write_parts(storage, "up_1", 0, feed(), arecord))

    with pytest.raises(UnavailableError, match=server.endpoint):
        upload()
    assert recorded == [number * PART_BYTES for number in range(len(recorded))]
    assert 4 <= len(recorded) <= 8


def test_a_bucket_that_is_missing_is_created_and_one_that_vanished_is_named(start_s3: Callable[[], Any]) -> None:
    server = start_s3()
    storage = open_storage(server.settings("s3://bucket/a/b"))
    assert open_storage(server.settings("s3://bucket/a/b")).put("key", b"x") == 1
    assert open_storage(server.settings("s3://bucket")).get("a/b/key") == b"x"
    assert [found.key for found in storage.list()] == ["key"]
    with pytest.raises(NotFoundError):
        open_storage(server.settings("s3://bucket/a")).get("key")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_nothing_half_written_stays(small_disk: Path) -> None:
    storage = FolderStorage(small_disk / "storage")
    storage.put("kept", b"old")
    sources: list[Any] = [bytes(8 * MIB), (bytes(MIB) for _ in range(8))]
    for source in sources:
        with pytest.raises(StorageFullError, match="free space"):
            storage.put("kept", source)
    with pytest.raises(StorageFullError):
        BlobStore(storage).put_stream(bytes(MIB) for _ in range(8))
    assert [found.key for found in storage.list()] == ["kept"]
    assert list((small_disk / "storage" / ".incoming").iterdir()) == []
    assert storage.get("kept") == b"old"
    storage.put("more", bytes(2 * MIB))


def test_a_fetch_onto_a_full_disk_leaves_nothing(small_disk: Path, tmp_path: Path) -> None:
    blobs = BlobStore(FolderStorage(tmp_path / "storage"))
    digest = blobs.put_bytes(bytes(8 * MIB))
    with pytest.raises(StorageFullError, match="free space"):
        blobs.fetch(digest, small_disk / "model.onnx")
    assert list(small_disk.iterdir()) == []


LIMITED = """
import resource, signal, sys
from pathlib import Path
from services.common.errors import StorageFullError
from services.common.storage import FolderStorage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
storage = FolderStorage(Path(sys.argv[1]))
try:
    storage.put("large", bytes(2 << 20))
except StorageFullError as error:
    print(error.message)
print([found.key for found in storage.list()], list((Path(sys.argv[1]) / ".incoming").iterdir()))
"""


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    ).stdout
    assert "no space left for" in found
    assert found.endswith("[] []\n")


def test_a_key_under_another_object_is_a_conflict_on_a_folder(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    storage.put("a", b"x")
    with pytest.raises(ConflictError):
        storage.put("a/b", b"x")
    storage.put("c/d", b"x")
    with pytest.raises((ConflictError, NotFoundError)):
        storage.put("c", b"x")


def test_files_of_writers_that_died_long_ago_are_removed(tmp_path: Path) -> None:
    FolderStorage(tmp_path)
    stale, fresh = tmp_path / ".incoming" / "stale", tmp_path / ".incoming" / "fresh"
    stale.write_bytes(b"")
    fresh.write_bytes(b"")
    os.utime(stale, (1, 1))
    FolderStorage(tmp_path)
    assert [path.name for path in (tmp_path / ".incoming").iterdir()] == ["fresh"]
