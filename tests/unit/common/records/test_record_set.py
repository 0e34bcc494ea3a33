from pathlib import Path
from typing import Protocol

import pytest

from services.common.digest import digest_bytes
from services.common.errors import InvalidError, NotFoundError
from services.common.records import Blobs, Record, RecordSet, RecordWriter, WrittenSet

SCHEMA = {"labels": ["cat", "dog"], "media_type": "text/plain"}


class StoredBlobs(Blobs, Protocol):
    folder: Path
    fetched: list[str]


def content(number: int) -> bytes:
    return f"text {number} ".encode() * (number % 7)


def write(blobs: StoredBlobs, scratch: Path, count: int = 50, **options: int) -> WrittenSet:
    with RecordWriter(blobs, scratch, **options) as writer:
        for number in range(count):
            writer.add(
                Record(
                    id=f"{number:04}.txt",
                    split="test" if number % 5 == 0 else "train",
                    labels=("dog" if number % 2 else "cat",),
                    media_type="text/plain",
                    shape=(number, 1),
                ),
                content(number),
            )
        return writer.finish(schema=SCHEMA, statistics={"samples": count})


@pytest.fixture
def records(blobs: StoredBlobs, tmp_path: Path) -> RecordSet:
    written = write(blobs, tmp_path / "scratch", max_shard_bytes=200)
    return RecordSet.open(blobs, written.digest, tmp_path / "cache")


def test_what_was_written_is_read(records: RecordSet) -> None:
    assert len(records) == 50
    assert [records.read(index) for index in range(50)] == [content(index) for index in range(50)]
    assert [records.read_range(index) for index in range(50)] == [content(index) for index in range(50)]
    assert records.manifest.statistics == {"samples": 50}
    assert len(records.manifest.shards) > 3
    assert max(shard.size for shard in records.manifest.shards) <= 200


def test_a_record_knows_what_the_manifest_says(records: RecordSet) -> None:
    assert records.record(3) == Record(
        id="0003.txt", split="train", labels=("dog",), media_type="text/plain",
        digest=digest_bytes(content(3)), length=len(content(3)), shape=(3, 1),
    )  # fmt: skip


def test_a_split_and_a_label_can_be_selected(records: RecordSet) -> None:
    chosen = records.select(split="train").select(label="dog")
    assert chosen.ids[:3] == ["0001.txt", "0003.txt", "0007.txt"]
    assert chosen.targets.tolist() == [1] * len(chosen)
    assert chosen.read(1) == content(3)
    assert records.targets[:4].tolist() == [0, 1, 0, 1]
    assert chosen.digests[0] == digest_bytes(content(1))


def test_an_unknown_split_is_refused_with_the_nearest(records: RecordSet) -> None:
    with pytest.raises(InvalidError, match="test, train; did you mean 'train'"):
        records.select(split="trian")


def test_a_record_is_found_by_id(records: RecordSet) -> None:
    assert records.select(split="train").index("0002.txt") == 1
    with pytest.raises(NotFoundError):
        records.select(split="train").index("0005.txt")


def test_the_same_records_give_the_same_digest(blobs: StoredBlobs, tmp_path: Path) -> None:
    assert write(blobs, tmp_path / "one").digest == write(blobs, tmp_path / "two").digest


def test_no_scratch_file_is_left(blobs: StoredBlobs, tmp_path: Path) -> None:
    write(blobs, tmp_path / "scratch")
    with RecordWriter(blobs, tmp_path / "scratch") as writer:
        writer.add(Record(id="a"), b"never finished")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_equal_bytes_are_kept_once(blobs: StoredBlobs, tmp_path: Path) -> None:
    with RecordWriter(blobs, tmp_path) as writer:
        for name in "abc":
            writer.add(Record(id=name), b"the same")
        written = writer.finish(schema={}, statistics={})
    assert [shard.size for shard in written.shards] == [8]


def test_one_record_more_leaves_most_shards_as_they_were(blobs: StoredBlobs, tmp_path: Path) -> None:
    def shards(numbers: list[int]) -> set[str]:
        with RecordWriter(blobs, tmp_path, max_shard_bytes=4000) as writer:
            for number in numbers:
                writer.add(Record(id=str(number)), f"{number}".encode() * 20)
            return {shard.digest for shard in writer.finish(schema={}, statistics={}).shards}

    before, after = shards([*range(5, 2000)]), shards([2, *range(5, 2000)])
    assert len(before - after) <= 2 < len(before)


def test_each_shard_is_fetched_once(records: RecordSet, blobs: StoredBlobs) -> None:
    for _ in range(2):
        for index in range(50):
            records.read(index)
    assert len(blobs.fetched) == len(set(blobs.fetched)) == 1 + len(records.manifest.shards)


def test_a_damaged_local_copy_is_fetched_again(records: RecordSet, blobs: StoredBlobs, tmp_path: Path) -> None:
    records.read(1)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"damaged")
    again = RecordSet.open(blobs, records.digest, tmp_path / "cache")
    assert again.read(1) == content(1)


def test_damage_in_the_store_is_noticed_by_ranged_reads(records: RecordSet, blobs: StoredBlobs) -> None:
    for shard in records.manifest.shards:
        path = blobs.folder / shard.digest.removeprefix("sha256:")
        path.write_bytes(bytes(shard.size))
    with pytest.raises(InvalidError, match=r"0001\.txt"):
        records.read_range(1)


def test_the_local_copies_stay_within_their_limit(blobs: StoredBlobs, tmp_path: Path) -> None:
    written = write(blobs, tmp_path / "scratch", max_shard_bytes=200)
    limit = written.manifest_size + 400
    records = RecordSet.open(blobs, written.digest, tmp_path / "cache", cache_limit_bytes=limit)
    assert [records.read(index) for index in range(50)] == [content(index) for index in range(50)]
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= limit


def test_a_blob_that_is_no_manifest_is_refused(blobs: StoredBlobs, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"not arrow")
    with pytest.raises(InvalidError, match="manifest"):
        RecordSet.open(blobs, blobs.put_file(tmp_path / "text"), tmp_path / "cache")
