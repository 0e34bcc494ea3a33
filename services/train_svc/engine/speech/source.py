"""Speech in batches, for learning and for evaluation."""

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from services.common.digest import digest_json
from services.common.errors import InvalidError
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.chance import seed_of
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec.augment import MaskSpec
from services.train_svc.engine.speech.buckets import BucketOrder, Indices
from services.train_svc.engine.speech.collation import Collation
from services.train_svc.engine.speech.masks import mask_features
from services.train_svc.engine.speech.recordings import Recordings
from services.train_svc.engine.speech.speed import SPEEDS
from services.train_svc.engine.speech.tokens import Vocabulary

LOG = logging.getLogger("modelwright.train")
_SPEED, _MASK = 0, 1
"""Parts of the randomness of an epoch, and of a step."""


class SpeechSource:
    """Numbered batches of utterances of similar lengths, at random speeds and under random masks (`batch.Source`).

    Batch k is a pure function of (digest, seed, k). Utterances that are too short for their text at the highest speed
    would have an infinite loss and are left out, with one warning.

    Args:
        recordings: the train split.
        vocabulary: its characters.
        description: the model that they go into.
        batch_size: utterances a step; an epoch's last, smaller batch is left out, since every epoch is shuffled anew.
        seed: of order, speeds and masks.
        speeds: of which each utterance gets one in each epoch; (1,): none changes.
        mask: SpecAugment's masks, drawn anew for each.
        digest: names the data; empty: made of ids, lengths and texts.

    Raises:
        InvalidError: a speed is not in 0.5 to 2; or as `Recordings`, `Collation` and `BucketOrder` do.
    """

    def __init__(
        self,
        recordings: Recordings,
        vocabulary: Vocabulary,
        description: Description,
        *,
        batch_size: int,
        seed: int = 0,
        speeds: Sequence[float] = SPEEDS,
        mask: MaskSpec = MaskSpec(),
        digest: str = "",
    ) -> None:
        if not speeds or not all(0.5 <= speed <= 2 for speed in speeds):  # noqa: PLR2004 - as the message says
            raise fault("speeds", f"are {list(speeds)}, wanted one or more in 0.5 to 2")
        self.collation = Collation(recordings, vocabulary, description)
        self._recordings, self._speeds, self._mask, self._seed = recordings, tuple(speeds), mask, seed
        self._lengths = np.stack([recordings.frames(speed) for speed in self._speeds])
        self._kept = self._long_enough()
        self._digest = _digest(recordings, vocabulary, self._speeds, batch_size, digest)
        self._order = BucketOrder(digest=self._digest, count=len(self._kept), batch_size=batch_size, seed=seed)
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def _long_enough(self) -> Indices:
        kept = np.flatnonzero(self._lengths.min(0) >= self.collation.least_frames)
        lost = len(self._recordings) - len(kept)
        if lost:
            first = np.flatnonzero(self._lengths.min(0) < self.collation.least_frames)[0]
            name = self._recordings.utterances[first].id
            LOG.warning("%d utterances are left out: too short for their text, such as %s", lost, name)
        if not len(kept):
            raise InvalidError("every utterance is too short for its text; are the transcripts the right ones?")
        return kept

    @property
    def digest(self) -> str:
        """Name of the utterances, their preprocessing and how they are put together."""
        return self._digest

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self._order.steps_per_epoch

    def at(self, step: int) -> Batch:
        """Return the batch of a step, counted from the beginning of the run.

        Raises:
            InvalidError: an utterance cannot be read; it is named.
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        batches, speeds = self._epoch(epoch)
        indices = batches[place]
        features = [self._recordings.features(int(index), self._speeds[speeds[index]]) for index in indices]
        batch = self.collation.batch(indices, features)
        if self._mask.frequency_masks or self._mask.time_masks:
            whole = next(iter(batch.inputs.values()))
            for row, (index, own) in enumerate(zip(indices, features, strict=True)):
                mask_features(whole[row, : len(own)], self._mask, self._chance(step, _MASK, int(index)))
        return batch

    def _draw_epoch(self, epoch: int) -> tuple[Indices, Indices]:
        # Its batches, and the place of each utterance's speed.
        speeds = self._chance(epoch, _SPEED).integers(0, len(self._speeds), len(self._recordings))
        lengths = self._lengths[speeds, np.arange(len(speeds))]
        return self._kept[self._order.epoch(epoch, lengths[self._kept])], speeds

    def _chance(self, position: int, *parts: int) -> np.random.Generator:
        return np.random.default_rng([seed_of(self._seed, "augment", position), *parts])


class SpeechEvaluation:
    """All utterances in batches of similar lengths, the longest first, unchanged by chance (`batch.Evaluated`).

    Args:
        recordings: a split.
        vocabulary: the characters of training.
        description: the model that they go into.
        batch_size: utterances a batch; the last may have fewer.

    Raises:
        InvalidError: as `Recordings` and `Collation` do.
    """

    def __init__(
        self, recordings: Recordings, vocabulary: Vocabulary, description: Description, *, batch_size: int
    ) -> None:
        self.collation = Collation(recordings, vocabulary, description)
        self._recordings, self._batch_size = recordings, batch_size

    def __iter__(self) -> Iterator[Batch]:
        """Yield all batches once.

        Raises:
            InvalidError: an utterance cannot be read; it is named.
        """
        order = np.argsort(-self._recordings.frames(), kind="stable")
        for start in range(0, len(order), self._batch_size):
            indices = order[start : start + self._batch_size]
            yield self.collation.batch(indices, [self._recordings.features(int(index)) for index in indices])

    def __len__(self) -> int:
        """How many batches there are."""
        return (len(self._recordings) - 1) // self._batch_size + 1


def _digest(recordings: Recordings, vocabulary: Vocabulary, speeds: Sequence[float], batch_size: int, data: str) -> str:
    said = [[each.id, int(n), each.text] for each, n in zip(recordings.utterances, recordings.samples, strict=True)]
    return digest_json(
        {
            "data": data or said,
            "preprocess": recordings.preprocess.spec,
            "tokens": vocabulary.to_list(),
            "speeds": list(speeds),
            "batch_size": batch_size,
        }
    )
