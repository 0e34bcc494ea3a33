"""Pictures in files, decoded when they are asked for."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.errors import InvalidError
from services.common.preprocess import Preprocess
from services.train_svc.engine.pictures import IN_MEMORY_BYTES
from services.train_svc.engine.reading import fault

MOST_THREADS = 8
MODES = {1: "L", 3: "RGB"}
AXES = 3

Pictures = npt.NDArray[np.uint8]


def decode_step(shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the preprocessing step that reads pictures at a shape.

    Raises:
        InvalidError: the shape is no picture's of 1 or 3 channels.
    """
    if len(shape) != AXES or shape[0] not in MODES:
        raise fault("train.model", f"takes {list(shape)}, wanted [1 or 3 channels, height, width] for pictures")
    channels, height, width = shape
    return {"decode_image": {"mode": MODES[channels], "height": height, "width": width}}


class DecodedSplit:
    """The samples of one split of a folder: a `Split` of `engine.pictures`.

    A few threads decode (Pillow holds no lock while it does); a split that is small enough is decoded once.

    Args:
        folder: where the paths begin.
        files: path and class of each sample.
        shape: channels (1 or 3), height and width that every picture is brought to.

    Raises:
        InvalidError: the shape is no picture's.
    """

    def __init__(self, *, folder: Path, files: Sequence[tuple[str, int]], shape: tuple[int, ...]) -> None:
        step = decode_step(shape)
        self._folder, self._files, self._shape = folder, files, shape
        self._decode = Preprocess([step]).decode
        # What is small is kept once it has been decoded.
        is_small = len(files) * int(np.prod(shape)) <= IN_MEMORY_BYTES
        self._kept: Pictures | None = np.empty((len(files), *shape), np.uint8) if is_small else None
        self._known = np.zeros(len(files), bool)

    @cached_property
    def ids(self) -> Sequence[str]:
        """Paths within the folder."""
        return [path for path, _ in self._files]

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class of each sample: int64 [samples]."""
        return np.array([label for _, label in self._files], np.int64)

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self._files)

    def pictures(self, indices: npt.NDArray[Any]) -> Pictures:
        """Return the pictures at `indices`: uint8 [n, channels, height, width].

        Raises:
            InvalidError: a file cannot be read; it is named.
        """
        if self._kept is None:
            found = np.empty((len(indices), *self._shape), np.uint8)
            self._fill(found, list(enumerate(indices)))
            return found
        missing = np.unique(indices[~self._known[indices]])
        self._fill(self._kept, list(zip(missing, missing, strict=True)))
        self._known[missing] = True
        kept: Pictures = self._kept[indices]
        return kept

    def _fill(self, pictures: Pictures, places: list[tuple[Any, Any]]) -> None:
        def read(pair: tuple[Any, Any]) -> None:
            pictures[pair[0]] = self._read(int(pair[1]))

        _each(read, places)

    def _read(self, index: int) -> npt.NDArray[Any]:
        path = self._folder / self._files[index][0]
        try:
            return self._decode(path.read_bytes(), str(path))
        except OSError as error:
            raise InvalidError(f"{path} cannot be read: {error.strerror or error}", field="data") from error


def _each(work: Callable[[Any], None], items: list[Any]) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(MOST_THREADS, cores, len(items))
    if threads < 2:  # noqa: PLR2004 - one is no pool
        for item in items:
            work(item)
        return
    # A pool that lived on would not survive a fork; making one costs less than decoding one picture.
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass
