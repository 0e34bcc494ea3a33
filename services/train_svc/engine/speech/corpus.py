"""A whole corpus of speech: its splits, its characters, and its preprocessing measured on what is learnt from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.common.preprocess import Preprocess
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.batch import Data
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec.augment import MaskSpec
from services.train_svc.engine.speech.recordings import Recordings
from services.train_svc.engine.speech.source import SpeechEvaluation, SpeechSource
from services.train_svc.engine.speech.speed import SPEEDS
from services.train_svc.engine.speech.tokens import Vocabulary
from services.train_svc.engine.speech.utterance import Utterance

TRAIN, VALIDATION, TEST = "train", "validation", "test"
Splits = Mapping[str, Sequence[Utterance]]


@dataclass(frozen=True, kw_only=True)
class SpeechCorpus:
    """Splits of speech, ready to be learnt from."""

    splits: Mapping[str, Recordings]
    """By name; `train` is there."""
    vocabulary: Vocabulary
    """Characters of the train split."""
    preprocess: Preprocess
    """Recordings to normalised features [time, features]; goes into the model's package."""

    @classmethod
    def of(cls, splits: Splits, *, sample_rate: int = 16_000, mel_bins: int = 80) -> "SpeechCorpus":
        """Return the corpus of utterances by split, normalised by the mean and spread of the train split.

        Raises:
            InvalidError: there is no train split, an id is there twice, or a recording cannot be read; it is named.
        """
        if not splits.get(TRAIN):
            found = ", ".join(splits) or "none"
            raise fault("data", f"has the splits {found}; {TRAIN!r} is needed")
        steps: list[Any] = [
            {"decode_audio": {"sample_rate": sample_rate}},
            {"log_mel": {"sample_rate": sample_rate, "mel_bins": mel_bins}},
        ]
        steps.append(measure_normalization(Recordings(splits[TRAIN], Preprocess(steps), memory_bytes=0)))
        preprocess = Preprocess(steps)
        return cls(
            splits={name: Recordings(utterances, preprocess) for name, utterances in splits.items() if utterances},
            vocabulary=Vocabulary.of(utterance.text for utterance in splits[TRAIN]),
            preprocess=preprocess,
        )

    def data(
        self,
        description: Description,
        *,
        batch_size: int,
        seed: int = 0,
        mask: MaskSpec = MaskSpec(),
        speeds: Sequence[float] = SPEEDS,
    ) -> Data:
        """Return the train split to learn from, and the validation split, if there is one, to evaluate on.

        Raises:
            InvalidError: as `SpeechSource` and `SpeechEvaluation` do.
        """
        source = SpeechSource(
            self.splits[TRAIN],
            self.vocabulary,
            description,
            batch_size=batch_size,
            seed=seed,
            mask=mask,
            speeds=speeds,
        )
        has_validation = VALIDATION in self.splits
        validation = self.evaluated(VALIDATION, description, batch_size=batch_size) if has_validation else None
        return Data(train=source, validation=validation)

    def evaluated(self, split: str, description: Description, *, batch_size: int) -> SpeechEvaluation:
        """Return one split to evaluate on.

        Raises:
            InvalidError: there is no such split.
        """
        if split not in self.splits:
            raise fault("split", f"there is no {split!r}; there are {', '.join(self.splits)}")
        return SpeechEvaluation(self.splits[split], self.vocabulary, description, batch_size=batch_size)


def measure_normalization(recordings: Recordings, utterances: int = 5_000) -> dict[str, Any]:
    """Return the mean and standard deviation of each feature as the step `normalize_features` of preprocess.yaml.

    Args:
        recordings: of the train split, without that step.
        utterances: measure at most as many, spread evenly.

    Raises:
        InvalidError: a recording cannot be read; it is named.
    """
    indices = np.unique(np.linspace(0, len(recordings) - 1, min(utterances, len(recordings))).astype(np.int64))
    total, squares, frames = 0.0, 0.0, 0
    for index in indices:
        features = recordings.features(int(index)).astype(np.float64)
        total, squares, frames = total + features.sum(0), squares + (features**2).sum(0), frames + len(features)
    mean = np.asarray(total) / frames
    # A band that is the same everywhere must not be divided by zero.
    spread = np.sqrt(np.maximum(np.asarray(squares) / frames - mean**2, 0))
    return {
        "normalize_features": {
            "mean": [round(float(value), 6) for value in mean],
            "std": [round(float(value), 6) or 1.0 for value in spread],
        }
    }
