"""A dataset version as splits of pictures."""

from dataclasses import dataclass

import numpy as np

from services.common.errors import InvalidError
from services.common.preprocess import Preprocess
from services.common.records import RecordSet
from services.train_svc.engine.loading.decoded import decode_step
from services.train_svc.engine.pictures import IN_MEMORY_BYTES, LazySplit, MemorySplit, Split

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
FEWEST_CLASSES = 2
AXES = 3
DIFFERS = -1
"""Stands in a dataset's shape for an axis that its pictures do not share."""
COMMON_SIDE = 64
"""Pixels a side of pictures that differ in size."""
GREY = (1, 2)
"""Channels of a grey picture, without and with transparency."""


@dataclass(frozen=True, kw_only=True)
class PictureDataset:
    """Labelled pictures in splits."""

    records: RecordSet
    """All samples."""

    @property
    def labels(self) -> list[str]:
        """Names of the classes, in the order of the model's scores.

        Raises:
            InvalidError: there are fewer than two.
        """
        labels = self.records.labels
        if len(labels) < FEWEST_CLASSES:
            found = ", ".join(labels) or "none"
            message = f"the dataset has the classes {found}; {FEWEST_CLASSES} or more are needed to tell them apart"
            raise InvalidError(message, field="data")
        return labels

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width to read the pictures at: their own, where they all have the same.

        Those that differ in size are read at 64 x 64, those that differ in channels as colour. None: not known.
        """
        shape: list[int] = self.records.manifest.schema.get("shape") or []
        if len(shape) != AXES:
            return None
        height, width, channels = shape
        if DIFFERS in (height, width):
            height = width = COMMON_SIDE
        # Transparency is no class's mark: such pictures are read as colour ones.
        return (1 if channels in GREY else 3), height, width

    @property
    def is_resized(self) -> bool:
        """Whether the pictures differ in size, so that `shape` is a choice."""
        return DIFFERS in (self.records.manifest.schema.get("shape") or [])[:2]

    def has(self, split: str) -> bool:
        """Say whether a split has samples."""
        return split in self.records.splits

    @property
    def tested(self) -> str:
        """The split that the final accuracy is measured on: test, or validation where there is none.

        Raises:
            InvalidError: there is neither, or no train split.
        """
        splits = self.records.splits
        if TRAIN not in splits or not (TEST in splits or VALIDATION in splits):
            found = ", ".join(splits) or "none"
            raise InvalidError(f"the dataset has the splits {found}; 'train' and 'test' are needed", field="data.split")
        return TEST if TEST in splits else VALIDATION

    @property
    def digest(self) -> str:
        """Digest of the dataset version."""
        return self.records.digest

    def open(self, split: str, shape: tuple[int, ...]) -> Split:
        """Return one split, decoded into memory if it is small.

        Args:
            split: its name.
            shape: channels (1 or 3), height and width that the pictures are read at.

        Raises:
            InvalidError: a sample has no label, or cannot be decoded; it is named.
        """
        decode = Preprocess([decode_step(shape)]).decode
        records = self.records.select(split=split)
        ids, labels = records.ids, records.targets
        if (labels < 0).any():
            name = ids[int(np.argmax(labels < 0))]
            raise InvalidError(f"the sample {name!r} of the split {split!r} has no label", field="data")

        def read(indices: np.ndarray) -> np.ndarray:
            pictures = np.empty((len(indices), *shape), np.uint8)
            for place, index in enumerate(indices):
                pictures[place] = decode(records.read(int(index)), ids[index])
            return pictures

        if len(records) * int(np.prod(shape)) > IN_MEMORY_BYTES:
            return LazySplit(ids=ids, labels=labels, read=read)
        return MemorySplit(ids=ids, labels=labels, data=read(np.arange(len(records))))
