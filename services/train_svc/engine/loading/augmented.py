"""A source whose batches carry the draws of their augmentation."""

from services.train_svc.engine.augment.draws import draw
from services.train_svc.engine.batch import Batch, Source
from services.train_svc.engine.spec.augment import AugmentSpec, MaskSpec, MixSpec

NO_CHANGES = AugmentSpec(shift_pixels=0, rotate_degrees=0, scale=0)


class Augmented:
    """Draws the changes of each batch of any source; the engines make them.

    Args:
        source: gives the samples as they are.
        seed: the run's.
        augment: changes of single pictures.
        mix: blends of pairs.
        mask: masks on features.
    """

    def __init__(
        self,
        source: Source,
        *,
        seed: int,
        augment: AugmentSpec = NO_CHANGES,
        mix: MixSpec = MixSpec(),
        mask: MaskSpec = MaskSpec(),
    ) -> None:
        self._source = source
        self._seed = seed
        self._specs = augment, mix, mask

    @property
    def digest(self) -> str:
        """Name of the samples; how they are changed is the training spec's matter."""
        return self._source.digest

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self._source.steps_per_epoch

    def at(self, step: int) -> Batch:
        """Return the batch of a step with its draws.

        Raises:
            InvalidError: as the source's, or a change does not fit the samples.
        """
        augment, mix, mask = self._specs
        return draw(augment, mix, mask, batch=self._source.at(step), seed=self._seed, step=step)
