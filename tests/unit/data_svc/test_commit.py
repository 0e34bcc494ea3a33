import errno
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.common.errors import InvalidError, StorageFullError
from services.common.records import RecordSet
from services.common.storage.blobs import BlobStore
from services.data_svc.engine.archives import Source
from services.data_svc.engine.commit import CommitOptions, Committed, commit_files
from services.data_svc.engine.limits import ScanLimits
from services.data_svc.engine.split import SplitPolicy

Files = dict[str, bytes]
Commit = Callable[..., Committed]
Refused = Callable[..., str]
OpenSet = Callable[[Committed], RecordSet]


def ignore(share: float, message: str) -> None:
    assert 0 <= share <= 1
    assert message


@pytest.fixture
def commit(blobs: BlobStore, tmp_path: Path) -> Commit:
    def run(*sources: Source, **options: Any) -> Committed:
        return commit_files(sources, CommitOptions(**options), blobs, tmp_path / "scratch", ignore)

    return run


@pytest.fixture
def open_set(blobs: BlobStore, tmp_path: Path) -> OpenSet:
    return lambda made: RecordSet.open(blobs, made.written.digest, tmp_path / "cache")


@pytest.fixture
def refused(commit: Commit, tmp_path: Path) -> Refused:
    def run(*sources: Source, **options: Any) -> str:
        with pytest.raises(InvalidError) as caught:
            commit(*sources, **options)
        assert not [path for path in (tmp_path / "storage").rglob("*") if path.is_file()]
        assert not list((tmp_path / "scratch").iterdir())
        return caught.value.message

    return run


def test_a_tar_of_class_folders_becomes_a_version(
    commit: Commit, digits: Files, open_set: OpenSet, make: SimpleNamespace
) -> None:
    made = commit(make.source("digits.tar", make.tar(digits)), split=SplitPolicy(stratify=True))
    assert made.schema == {
        "media_type": "image/png",
        "labels": ["0", "1"],
        "splits": {"test": 4, "train": 32, "validation": 4},
        "shape": [6, 8, 1],
    }
    assert made.statistics["split_labels"]["train"] == {"0": 16, "1": 16}
    assert made.statistics["bytes"] == sum(len(data) for data in digits.values())
    records = open_set(made)
    assert {record_id: records.read(index) for index, record_id in enumerate(records.ids)} == digits


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_gives_the_same_version(
    mode: str, commit: Commit, digits: Files, make: SimpleNamespace
) -> None:
    plain = commit(make.source("digits.tar", make.tar(digits)))
    packed = commit(make.source("upload", make.tar(digits, mode)))
    assert plain.written.digest == packed.written.digest


def test_the_way_of_packing_does_not_change_the_version(commit: Commit, digits: Files, make: SimpleNamespace) -> None:
    names = list(digits)
    random.Random(1).shuffle(names)
    shuffled = {name: digits[name] for name in names}
    ways = [
        [make.source("digits.tar", make.tar(digits))],
        [make.source("digits.tar", make.tar({"./digits/" + name: data for name, data in shuffled.items()}))],
        [make.source("digits.zip", make.zip(shuffled))],
        [make.source(name, data) for name, data in shuffled.items()],
        [
            make.source("a.tar", make.tar({name: digits[name] for name in names[:9]})),
            make.source("b.zip", make.zip({name: digits[name] for name in names[9:]})),
        ],
    ]
    assert len({commit(*sources).written.digest for sources in ways}) == 1


def test_another_seed_or_parent_gives_another_version(commit: Commit, digits: Files, make: SimpleNamespace) -> None:
    upload = make.source("digits.tar", make.tar(digits))
    parent = "sha256:" + "0" * 64
    options: list[dict[str, Any]] = [{}, {"split": SplitPolicy(seed=1)}, {"parent": parent}]
    made = [commit(upload, **option).written for option in options]
    assert len({written.digest for written in made}) == 3
    assert len({written.shards for written in made}) == 1


def test_split_folders_are_kept(commit: Commit, digits: Files, make: SimpleNamespace) -> None:
    names = {"train": 20, "val": 10, "test": 10}
    files = iter(digits.items())
    laid = {
        f"{split}/{path}": data
        for split, count in names.items()
        for (path, data) in [next(files) for _ in range(count)]
    }
    made = commit(make.source("x.tar", make.tar(laid)))
    assert made.schema["splits"] == {"test": 10, "train": 20, "validation": 10}


def test_a_table_gives_labels_and_splits(commit: Commit, digits: Files, make: SimpleNamespace) -> None:
    flat = {f"images/{index}.png": data for index, data in enumerate(digits.values())}
    rows = ["path,label,split"] + [
        f"{path},{'odd' if index % 2 else 'even'},{'dev' if index < 10 else 'train'}" for index, path in enumerate(flat)
    ]
    table = "\n".join(rows).encode()
    inside = commit(make.source("x.tar", make.tar({"labels.csv": table} | flat)))
    beside = commit(make.source("labels.csv", table), make.source("x.tar", make.tar(flat)))
    assert inside.schema["splits"] == {"train": 30, "validation": 10}
    assert inside.schema["labels"] == ["even", "odd"]
    assert inside.written.digest == beside.written.digest


def test_every_unreadable_picture_is_named_and_all_are_reported_together(
    refused: Refused, digits: Files, make: SimpleNamespace
) -> None:
    picture = make.png(200)
    bad = {
        "0/truncated.png": picture[:-20],
        "0/endless.png": picture[:-12],
        "0/flipped.png": picture[:45] + bytes([picture[45] ^ 1]) + picture[46:],
        "1/text.jpg": b"not a picture",
        "1/empty.gif": b"",
    }
    message = refused(make.source("digits.tar", make.tar(digits | bad)))
    assert "5 faults" in message
    for name in bad:
        assert name in message


def test_a_truncated_jpeg_is_named(refused: Refused, digits: Files, make: SimpleNamespace) -> None:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    message = refused(make.source("x.tar", make.tar(digits | {"0/cut.jpg": buffer.getvalue()[:-300]})))
    assert "0/cut.jpg: cannot be decoded: image file is truncated" in message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../etc/passwd", "'..'"),
        ("/etc/passwd", "absolute path"),
        ("0/a\nb.png", "control"),
        ("0\\a.png", "backslash"),
        ("/".join("abcdefghijklmnopqr") + "/x.png", "deep"),
    ],
)
def test_unsafe_names_are_refused(
    name: str, reason: str, refused: Refused, digits: Files, make: SimpleNamespace
) -> None:
    assert reason in refused(make.source("x.tar", make.tar(digits | {name: b"x"})))
    assert reason in refused(make.source("x.zip", make.zip(digits | {name: b"x"})))


def test_a_name_that_comes_twice_is_refused(refused: Refused, digits: Files, make: SimpleNamespace) -> None:
    upload = make.tar(digits)
    assert "0/000.png: comes twice" in refused(make.source("a.tar", upload), make.source("b.tar", upload))


def test_one_class_only_is_refused(refused: Refused, digits: Files, make: SimpleNamespace) -> None:
    one = {"cat/" + path[2:]: data for path, data in digits.items()}
    assert "every file has the label 'cat'" in refused(make.source("x.tar", make.tar(one)))


def test_an_empty_split_folder_is_refused(refused: Refused, digits: Files, make: SimpleNamespace) -> None:
    laid = {"train/" + path: data for path, data in digits.items()} | {"test/": b""}
    assert "test: is an empty split" in refused(make.source("x.tar", make.tar(laid)))


def test_a_class_too_small_to_stratify_is_named(refused: Refused, digits: Files, make: SimpleNamespace) -> None:
    files = digits | {"rare/a.png": make.png(99), "rare/b.png": make.png(98)}
    assert "class rare: has 2 different samples" in refused(
        make.source("x.tar", make.tar(files)), split=SplitPolicy(stratify=True)
    )


def test_files_without_labels_are_refused_with_the_layouts(refused: Refused, make: SimpleNamespace) -> None:
    assert "labels.csv" in refused(make.source("a.png", make.png(1)), make.source("b.png", make.png(2)))


def test_a_file_that_lies_elsewhere_is_named(refused: Refused, digits: Files, make: SimpleNamespace) -> None:
    assert "0/deep/x.png: does not lie" in refused(
        make.source("x.tar", make.tar(digits | {"0/deep/x.png": make.png(9)}))
    )


def test_notes_and_hidden_files_are_left_out(commit: Commit, digits: Files, make: SimpleNamespace) -> None:
    extra = {"README.md": b"hello", "0/.DS_Store": b"x", "__MACOSX/0/._000.png": b"x"}
    made = commit(make.source("x.tar", make.tar(extra | digits)))
    assert made.statistics["samples"] == 40
    assert made.statistics["warnings"] == ["README.md was left out: it is a note, not a sample"]


def test_copies_of_a_sample_never_part(commit: Commit, digits: Files, open_set: OpenSet, make: SimpleNamespace) -> None:
    copies = {f"{path[:-4]}-copy.png": data for path, data in digits.items()}
    made = commit(make.source("x.tar", make.tar(digits | copies)))
    records = open_set(made)
    split_of: dict[str, set[str]] = {}
    for index in range(len(records)):
        record = records.record(index)
        split_of.setdefault(record.digest, set()).add(record.split)
    assert all(len(splits) == 1 for splits in split_of.values())
    assert made.statistics["copies"] == 40


def test_texts_are_taken_as_they_are(commit: Commit, make: SimpleNamespace) -> None:
    files = {f"{'spam' if n % 2 else 'ham'}/{n}.txt": f"mail {n}".encode() for n in range(20)}
    made = commit(make.source("mails.tgz", make.tar(files, "w:gz")))
    assert made.schema["media_type"] == "text/plain"
    assert made.schema["shape"] == []


def test_nothing_uploaded_is_refused(refused: Refused, make: SimpleNamespace) -> None:
    assert "hold no files" in refused(make.source("x.tar", make.tar({})))


def test_the_number_of_files_is_bounded(refused: Refused, digits: Files, make: SimpleNamespace) -> None:
    assert "more than 10 files" in refused(make.source("x.tar", make.tar(digits)), limits=ScanLimits(max_entries=10))


class SmallBlobs:
    """A store with room for nothing more than its first blob."""

    def __init__(self) -> None:
        self.kept: list[Path] = []

    def put_file(self, path: Path) -> str:
        if self.kept:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        self.kept.append(path)
        return "sha256:" + "0" * 64

    def read_range(self, digest: str, offset: int, length: int) -> bytes:
        raise AssertionError("nothing is read")

    def fetch(self, digest: str, target: Path) -> None:
        raise AssertionError("nothing is fetched")


def test_a_full_disk_is_told_and_leaves_no_version(digits: Files, make: SimpleNamespace, tmp_path: Path) -> None:
    source = make.source("x.tar", make.tar(digits))
    with pytest.raises(StorageFullError, match="nothing was committed"):
        commit_files([source], CommitOptions(), SmallBlobs(), tmp_path / "scratch", ignore)
    assert not list((tmp_path / "scratch").iterdir())
