"""Labelled pictures as batches."""

from services.train_svc.engine.batch import Batch
from services.train_svc.engine.loading.numbered import Indices, OrderedBatches, ShuffledSource
from services.train_svc.engine.pictures import Split

INPUT = "input"
LABELS = "labels"


class PictureSamples:
    """A split's pictures, uint8 [n, channels, height, width], and their classes, int64 [n].

    Args:
        split: read from.
        name: of the model's input.
    """

    def __init__(self, split: Split, name: str = INPUT) -> None:
        self._split = split
        self._name = name

    def __len__(self) -> int:
        """How many there are."""
        return len(self._split)

    def read(self, indices: Indices) -> Batch:
        """Return those at `indices`.

        Raises:
            InvalidError: one cannot be decoded; it is named.
        """
        return Batch(
            inputs={self._name: self._split.pictures(indices)},
            targets={LABELS: self._split.labels[indices]},
            ids=[self._split.ids[index] for index in indices],
        )


class PictureSource(ShuffledSource):
    """A split of pictures to learn from, unchanged: `Augmented` draws their changes. Arguments as of both its parts."""

    def __init__(self, split: Split, *, digest: str, batch_size: int, seed: int = 0, name: str = INPUT) -> None:
        super().__init__(PictureSamples(split, name), digest=digest, batch_size=batch_size, seed=seed)


class PictureBatches(OrderedBatches):
    """A split of pictures to be evaluated on, in its order."""

    def __init__(self, split: Split, *, batch_size: int, name: str = INPUT) -> None:
        super().__init__(PictureSamples(split, name), batch_size=batch_size)
