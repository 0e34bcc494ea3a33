"""Resumable uploads, on both storages."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from services.common.errors import ConflictError, InvalidError
from services.common.storage import (
    PART_BYTES,
    CorruptError,
    Part,
    Storage,
    delete_parts,
    part_key,
    put_part,
    read_parts,
    write_parts,
    write_parts_sync,
)


class Recorded:
    """The parts noted, and a refusal of those that leave a gap."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    @property
    def received(self) -> int:
        return sum(part.size for part in self.parts)

    def note(self, offset: int, size: int, digest: str) -> None:
        if offset != self.received:
            raise ConflictError(f"expected {self.received}, got {offset}")
        self.parts.append(Part(offset=offset, size=size, digest=digest))

    async def anote(self, offset: int, size: int, digest: str) -> None:
        await asyncio.sleep(0)
        self.note(offset, size, digest)


def upload(kind: str, storage: Storage, offset: int, chunks: Iterator[bytes], recorded: Recorded) -> int:
    if kind == "threads":
        return write_parts_sync(storage, "up_1", offset, chunks, recorded.note)

    async def feed() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return asyncio.run(write_parts(storage, "up_1", offset, feed(), recorded.anote))


def cut(data: bytes, size: int = 65_537) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("kind", ["asyncio", "threads"])
@pytest.mark.parametrize("size", [0, 1, PART_BYTES, 3 * PART_BYTES + 17])
def test_an_upload_is_read_as_it_was_sent(storage: Storage, kind: str, size: int) -> None:
    data, recorded = os.urandom(size), Recorded()
    assert upload(kind, storage, 0, cut(data), recorded) == size
    assert b"".join(read_parts(storage, "up_1", recorded.parts)) == data
    assert all(part.size == PART_BYTES for part in recorded.parts[:-1])
    delete_parts(storage, "up_1")
    assert list(storage.list("uploads/")) == []


@pytest.mark.parametrize("kind", ["asyncio", "threads"])
def test_one_huge_chunk_is_cut_too(storage: Storage, kind: str) -> None:
    data, recorded = os.urandom(2 * PART_BYTES + 5), Recorded()
    upload(kind, storage, 0, iter([data]), recorded)
    assert [part.size for part in recorded.parts] == [PART_BYTES, PART_BYTES, 5]
    assert b"".join(read_parts(storage, "up_1", recorded.parts)) == data


@pytest.mark.parametrize("kind", ["asyncio", "threads"])
def test_a_cut_upload_keeps_every_byte_that_arrived_and_goes_on(storage: Storage, kind: str) -> None:
    data, recorded = os.urandom(3 * PART_BYTES), Recorded()
    reached = PART_BYTES + 1_000_000

    def broken() -> Iterator[bytes]:
        yield from cut(data[:reached])
        raise ConnectionResetError("cut")

    with pytest.raises(ConnectionResetError):
        upload(kind, storage, 0, broken(), recorded)
    assert recorded.received == reached
    assert upload(kind, storage, reached, cut(data[reached:]), recorded) == len(data)
    assert b"".join(read_parts(storage, "up_1", recorded.parts)) == data


@pytest.mark.parametrize("kind", ["asyncio", "threads"])
def test_a_refused_record_stops_the_upload(storage: Storage, kind: str) -> None:
    recorded = Recorded()
    with pytest.raises(ConflictError, match="expected 0, got 5"):
        upload(kind, storage, 5, cut(b"x" * PART_BYTES), recorded)
    assert recorded.parts == []


def test_a_cancelled_upload_records_what_was_stored(storage: Storage) -> None:
    recorded = Recorded()

    async def stalled() -> AsyncIterator[bytes]:
        yield bytes(PART_BYTES + 100)
        await asyncio.sleep(3600)

    async def run() -> None:
        task = asyncio.create_task(write_parts(storage, "up_1", 0, stalled(), recorded.anote))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert recorded.received == PART_BYTES + 100


def test_a_late_part_of_a_cut_connection_overwrites_nothing(storage: Storage) -> None:
    recorded = Recorded()
    write_parts_sync(storage, "up_1", 0, iter([b"whole part"]), recorded.note)
    put_part(storage, "up_1", 0, b"whole")
    assert b"".join(read_parts(storage, "up_1", recorded.parts)) == b"whole part"


def test_damage_and_gaps_are_told(storage: Storage) -> None:
    part = put_part(storage, "up_1", 0, b"good bytes")
    storage.put(part_key("up_1", 0, part.digest), b"evil bytes")
    with pytest.raises(CorruptError, match="damaged at byte 0"):
        list(read_parts(storage, "up_1", [part]))
    with pytest.raises(CorruptError, match="gap: bytes 0 to 5"):
        list(read_parts(storage, "up_1", [Part(offset=5, size=1, digest=part.digest)]))


@pytest.mark.parametrize(("upload_id", "offset"), [("../x", 0), ("a/b", 0), ("", 0), ("up_1", -1)])
def test_a_wrong_id_or_offset_is_refused(storage: Storage, upload_id: str, offset: int) -> None:
    def record(*_: Any) -> None:
        raise AssertionError

    with pytest.raises(InvalidError):
        write_parts_sync(storage, upload_id, offset, iter([b"x"]), record)
