import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.common.errors import InvalidError
from services.train_svc.engine.loading import decoded
from services.train_svc.engine.loading.folder import open_folder
from services.train_svc.engine.loading.pictures import PictureBatches, PictureSource
from tests.unit.train_svc.engine.loading.checks import assert_pure

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes pictures of one grey each, at paths within the folder."""

    def make(*paths: str, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
        for path in paths:
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, size, sum(path.encode()) % 256 if mode == "L" else (sum(path.encode()) % 256,) * 3).save(
                file
            )

    return make


def names(split: str, count: int = 4) -> list[str]:
    return [f"{split}{label}/{index}.png" for label in ("cat", "dog") for index in range(count)]


def test_the_layout_of_imagenet_is_read(tmp_path: Path, write: Write) -> None:
    write(*names("train/"), *names("val/", 2), "test/dog/deep/er.JPEG")
    (tmp_path / "train/cat/notes.txt").write_text("no picture")
    (tmp_path / "train/.hidden").mkdir()
    found = open_folder(tmp_path)
    assert list(found.labels) == ["cat", "dog"]
    assert {split: len(files) for split, files in found.files.items()} == {"train": 8, "validation": 4, "test": 1}
    assert (found.shape, found.is_resized) == ((3, 4, 6), False)
    (test,) = PictureBatches(found.open("test", found.shape), batch_size=8)
    assert (list(test.ids), list(test.targets["labels"])) == (["test/dog/deep/er.JPEG"], [1])


def test_pictures_come_with_the_class_of_their_folder(tmp_path: Path, write: Write) -> None:
    write(*names("train/"))
    split = open_folder(tmp_path).open("train", (3, 4, 6))
    run = assert_pure(lambda: PictureSource(split, digest="d", batch_size=3), 4)
    for batch in run:
        for name, picture, label in zip(batch.ids, batch.inputs["input"], batch.targets["labels"], strict=True):
            assert (picture == sum(name.encode()) % 256).all()
            assert label == ("dog" in name)


@pytest.mark.parametrize("is_small", [True, False])
def test_small_splits_are_decoded_once_and_large_ones_each_time(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, is_small: bool
) -> None:
    if not is_small:
        monkeypatch.setattr(decoded, "IN_MEMORY_BYTES", 100)
    write(*names("train/"))
    split = open_folder(tmp_path).open("train", (3, 4, 6))
    before = split.pictures(np.array([5, 0, 5]))
    write("train/cat/0.png", "train/dog/1.png", mode="L", size=(6, 4))
    Image.new("RGB", (6, 4), (1, 2, 3)).save(tmp_path / "train/dog/1.png")
    after = split.pictures(np.array([5, 0, 5]))
    assert np.array_equal(before, after) == is_small
    np.testing.assert_array_equal(split.pictures(np.arange(8))[6], np.full((3, 4, 6), sum(b"train/dog/2.png") % 256))


def test_without_splits_some_are_held_out_by_their_names(tmp_path: Path, write: Write) -> None:
    write(*names("", 100))
    found = open_folder(tmp_path)
    train, validation = ({path for path, _ in found[split]} for split in ("train", "validation"))
    assert len(train | validation) == 200
    assert not train & validation
    assert 8 <= len(validation) <= 35
    write(*names("", 130))
    more = open_folder(tmp_path)
    assert validation <= {path for path, _ in more["validation"]}
    assert train <= {path for path, _ in more["train"]}


def test_a_class_of_one_is_trained_on(tmp_path: Path, write: Write) -> None:
    write("cat/0.png", "dog/0.png")
    found = open_folder(tmp_path, held_out=0.999999)
    assert len(found["train"]) == 2
    assert not found.has("validation")


def test_a_class_may_be_called_train(tmp_path: Path, write: Write) -> None:
    write("train/0.png", "car/0.png")
    assert list(open_folder(tmp_path).labels) == ["car", "train"]


def test_pictures_of_different_sizes_are_brought_to_the_models(tmp_path: Path, write: Write) -> None:
    write(*names("train/"), mode="L")
    assert open_folder(tmp_path).shape == (1, 4, 6)
    write("train/cat/large.png", size=(30, 50))
    found = open_folder(tmp_path)
    assert (found.shape, found.is_resized) == ((3, 64, 64), True)
    assert found.open("train", (1, 10, 12)).pictures(np.arange(9)).shape == (9, 1, 10, 12)


def test_a_picture_on_its_side_is_looked_at_as_it_is_decoded(tmp_path: Path, write: Write) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (6, 4)).save(tmp_path / label / "0.jpg", exif=exif)
    assert open_folder(tmp_path).shape == (3, 6, 4)


def test_the_digest_changes_with_the_files(tmp_path: Path, write: Write) -> None:
    write(*names("train/"))
    first = open_folder(tmp_path).digest
    assert open_folder(tmp_path).digest == first
    write("train/cat/another.png")
    assert open_folder(tmp_path).digest != first


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, write: Write) -> None:
    write(*names("train/"))
    file = io.BytesIO()
    Image.effect_noise((60, 60), 90).save(file, "PNG")
    (tmp_path / "train/dog/2.png").write_bytes(file.getvalue()[:500])
    (tmp_path / "train/dog/3.png").write_bytes(b"no picture")
    found = open_folder(tmp_path)
    split = found.open("train", (3, 4, 6))
    for place, name in ((6, "2.png"), (7, "3.png")):
        with pytest.raises(InvalidError, match=rf"train/dog/{name}"):
            split.pictures(np.array([0, place]))
    assert split.pictures(np.array([0])).shape == (1, 3, 4, 6)
    with pytest.raises(InvalidError, match=r"train/dog/2.png is no picture that can be read"):
        _ = found.shape
    (tmp_path / "train/cat/1.png").unlink()
    with pytest.raises(InvalidError, match=r"train/cat/1.png cannot be read: No such file"):
        split.pictures(np.array([1]))


@pytest.mark.parametrize(
    ("paths", "empty", "said"),
    [
        ((), (), "has the classes none; wanted 2 or more"),
        (("cat/0.png",), (), "has the classes cat; wanted 2 or more"),
        (("train/cat/0.png", "train/dog/0.png"), ("train/cow",), "the class 'train/cow' of .* has no pictures"),
        (("cat/0.png", "dog/0.png"), ("cow",), "the class 'cow' of .* has no pictures"),
        (
            ("train/cat/0.png", "train/dog/0.png", "val/dogs/0.png"),
            (),
            "the class 'dogs' is in validation and not in train; did you mean 'dog'",
        ),
        (("train/cat/0.png", "val/cat/0.png", "validation/cat/0.png"), (), "has two folders for validation"),
    ],
)
def test_a_folder_that_is_no_dataset_is_refused(
    tmp_path: Path, write: Write, paths: tuple[str, ...], empty: tuple[str, ...], said: str
) -> None:
    write(*paths)
    for name in empty:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InvalidError, match=said):
        open_folder(tmp_path)


def test_a_folder_that_is_not_there_or_has_no_such_split_is_named(tmp_path: Path, write: Write) -> None:
    with pytest.raises(InvalidError, match="there is no folder"):
        open_folder(tmp_path / "nowhere")
    write(*names("train/"))
    with pytest.raises(InvalidError, match="has no split 'test'; it has train"):
        open_folder(tmp_path).open("test", (3, 4, 6))
    with pytest.raises(InvalidError, match=r"takes \[80\], wanted"):
        open_folder(tmp_path).open("train", (80,))
