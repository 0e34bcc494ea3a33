"""A folder of pictures, a folder a class, as ImageNet is laid out.

Either `train/<class>/...`, `val/<class>/...` (or `validation`) and `test/<class>/...`, or `<class>/...` alone, of which
a tenth is held out by the hash of each name: the same files on every machine, and those that join move no other.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image

from services.common.digest import digest_chunks
from services.common.errors import InvalidError
from services.common.names import nearest
from services.train_svc.engine.loading.decoded import DecodedSplit

TRAIN, VALIDATION, TEST = "train", "validation", "test"
FOLDERS = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
FEWEST_CLASSES = 2
HELD_OUT = 0.1
COMMON_SIDE = 64
"""Pixels a side of pictures that differ in size, unless the model says another."""
LOOKED_AT = 256
GREY = ("1", "L", "LA", "I", "I;16", "F")

Found = dict[str, list[str]]
"""Paths within the folder by class."""


@dataclass(frozen=True, kw_only=True)
class PictureFolder:
    """Labelled pictures in splits; files are looked at when they are needed. Make one with `open_folder`."""

    folder: Path
    """Where it is."""
    labels: Sequence[str]
    """Names of the classes, sorted: the order of the model's scores."""
    files: Mapping[str, Sequence[tuple[str, int]]] = field(repr=False)
    """Path within the folder and class of each sample, by split."""

    @cached_property
    def digest(self) -> str:
        """Digest of the files' names, splits and sizes; not of their content, which would be read for it."""
        rows = ((split, path, (self.folder / path).stat().st_size) for split in self.files for path, _ in self[split])
        return digest_chunks(f"{split} {path} {size}\n".encode() for split, path, size in rows)

    @cached_property
    def _looks(self) -> set[tuple[int, int, int]]:
        paths = [path for split in self.files for path, _ in self[split]]
        return {_look(self.folder / path) for path in paths[:: max(1, len(paths) // LOOKED_AT)]}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width to read the pictures at: their own where they all have the same, else 64 x 64.

        Some hundred files are looked at.

        Raises:
            InvalidError: one is no picture; it is named.
        """
        sizes = {look[1:] for look in self._looks}
        height, width = sizes.pop() if len(sizes) == 1 else (COMMON_SIDE, COMMON_SIDE)
        return max(look[0] for look in self._looks), height, width

    @property
    def is_resized(self) -> bool:
        """Whether the pictures differ in size, so that `shape` is a choice."""
        return len({look[1:] for look in self._looks}) > 1

    def __getitem__(self, split: str) -> Sequence[tuple[str, int]]:
        """Return path and class of each sample of a split.

        Raises:
            InvalidError: there is no such split.
        """
        if split not in self.files:
            known = ", ".join(self.files)
            raise InvalidError(f"{self.folder} has no split {split!r}; it has {known}", field="data.split")
        return self.files[split]

    def has(self, split: str) -> bool:
        """Say whether a split has samples."""
        return bool(self.files.get(split))

    def open(self, split: str, shape: tuple[int, ...]) -> DecodedSplit:
        """Return one split; its pictures are decoded when they are asked for, and resized to `shape`.

        Args:
            split: its name.
            shape: channels (1 or 3), height and width.

        Raises:
            InvalidError: there is no such split.
        """
        return DecodedSplit(folder=self.folder, files=self[split], shape=shape)


def open_folder(folder: Path, held_out: float = HELD_OUT) -> PictureFolder:
    """Return the pictures of a folder.

    Args:
        folder: in one of the two layouts.
        held_out: share for validation where the folder has no splits.

    Raises:
        InvalidError: there is no such folder, it has fewer than two classes, a class is empty, or a split has a class
            that is not trained on.
    """
    if not folder.is_dir():
        raise InvalidError(f"there is no folder {str(folder)!r}; give one that has a folder a class", field="data")
    splits = _find_splits(folder) or _held_out(_find_classes(folder, ""), held_out)
    labels = sorted(splits[TRAIN])
    if len(labels) < FEWEST_CLASSES:
        message = (
            f"{folder} has the classes {', '.join(labels) or 'none'}; wanted {FEWEST_CLASSES} or more, a folder each"
        )
        raise InvalidError(message, field="data")
    places = {label: place for place, label in enumerate(labels)}
    for split, found in splits.items():
        strange = sorted(set(found) - set(labels))
        if strange:
            message = f"the class {strange[0]!r} is in {split} and not in train{nearest(strange[0], labels)}"
            raise InvalidError(f"{folder}: {message}; every class must be trained on", field="data")
    files = {
        split: [(path, places[label]) for label in sorted(found) for path in found[label]]
        for split, found in splits.items()
    }
    return PictureFolder(folder=folder, labels=labels, files=files)


def _find_splits(folder: Path) -> dict[str, Found]:
    """Return the files by split; none: the folder's folders are classes."""
    # A class may be called `train`; then pictures lie in it, and no folders.
    if not any((folder / "train").glob("[!.]*/")):
        return {}
    splits: dict[str, Found] = {}
    for name, split in FOLDERS.items():
        if (folder / name).is_dir():
            if split in splits:
                raise InvalidError(f"{folder} has two folders for {split}; leave one of them", field="data")
            splits[split] = _find_classes(folder, name)
    return splits


def _find_classes(folder: Path, within: str) -> Found:
    names = sorted(entry.name for entry in os.scandir(folder / within) if entry.is_dir() and entry.name[0] != ".")
    found = {name: sorted(_find_pictures(folder, os.path.join(within, name))) for name in names}
    for name, paths in found.items():
        if not paths:
            message = f"the class {os.path.join(within, name)!r} of {folder} has no pictures"
            raise InvalidError(f"{message} ({', '.join(sorted(SUFFIXES))}); fill or remove it", field="data")
    return found


def _find_pictures(folder: Path, within: str) -> Iterator[str]:
    for entry in os.scandir(folder / within):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _find_pictures(folder, os.path.join(within, entry.name))
        elif Path(entry.name).suffix.lower() in SUFFIXES:
            yield Path(within, entry.name).as_posix()


def _held_out(found: Found, share: float) -> dict[str, Found]:
    splits: dict[str, Found] = {TRAIN: {}, VALIDATION: {}}
    for label, paths in found.items():
        places = {path: int.from_bytes(hashlib.sha256(path.encode()).digest()[:8]) / 2**64 for path in paths}
        # A class of which nothing is left to train on keeps its last one.
        least = min(share, max(places.values()))
        splits[TRAIN][label] = [path for path in paths if places[path] >= least]
        splits[VALIDATION][label] = [path for path in paths if places[path] < least]
    return {split: classes for split, classes in splits.items() if any(classes.values()) or split == TRAIN}


def _look(path: Path) -> tuple[int, int, int]:
    """Return channels, height and width of a file's picture, from its header."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            # Turned by its EXIF orientation, as it is when it is decoded.
            if image.getexif().get(0x0112, 1) >= 5:  # noqa: PLR2004 - from 5 on it lies on its side
                width, height = height, width
            return (1 if image.mode in GREY else 3), height, width
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidError(f"{path} is no picture that can be read: {error}; remove it", field="data") from error
