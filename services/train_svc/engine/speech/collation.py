"""Utterances into batches of a model's inputs and of CTC's targets."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.batch import Batch
from services.train_svc.engine.reading import fault
from services.train_svc.engine.spec import IGNORED
from services.train_svc.engine.speech.buckets import Indices
from services.train_svc.engine.speech.frames import CTC, FrameCount
from services.train_svc.engine.speech.recordings import Features, Recordings
from services.train_svc.engine.speech.tokens import Vocabulary

FRAME_STEP, LABEL_STEP = 32, 8
"""Batches are padded to multiples of these, so that a compiled step meets few shapes."""


class Collation:
    """Utterances to batches of a model's inputs and CTC's targets.

    inputs: the model's features FP32 [batch, time, features], zero beyond the end, and its lengths int64 [batch].
    targets: `labels` int64 [batch, label], -100 beyond the end; `label_lengths` and `frame_lengths` int64 [batch], the
    latter counting the frames that come out of the model.

    Args:
        recordings: the utterances.
        vocabulary: their characters.
        description: the model that they go into.

    Raises:
        InvalidError: the model takes something else, gives other scores, or an utterance has no text; it is named.
    """

    def __init__(self, recordings: Recordings, vocabulary: Vocabulary, description: Description) -> None:
        self.recordings = recordings
        self.labels = [vocabulary.encode(utterance.text) for utterance in recordings.utterances]
        empty = next((i for i, label in enumerate(self.labels) if not len(label)), None)
        if empty is not None:
            raise fault(recordings.utterances[empty].id, "has no text; give its transcript, or leave it out")
        self.count_frames = FrameCount(description)
        self._features, self._lengths = _input_names(description)
        _check_scores(description, len(vocabulary))

    def batch(self, indices: Sequence[int] | Indices, features: Sequence[Features]) -> Batch:
        """Return the utterances at `indices` with the features given, as one batch."""
        lengths = np.array([len(each) for each in features], np.int64)
        labels = [self.labels[index] for index in indices]
        targets = {
            "labels": _padded(labels, LABEL_STEP, IGNORED),
            "label_lengths": np.array([len(label) for label in labels], np.int64),
            "frame_lengths": np.array([self.count_frames(int(length)) for length in lengths], np.int64),
        }
        inputs = {self._features: _padded(features, FRAME_STEP, 0)}
        if self._lengths:
            inputs[self._lengths] = lengths
        ids = [self.recordings.utterances[index].id for index in indices]
        return Batch(inputs=inputs, targets=targets, ids=ids)

    @cached_property
    def least_frames(self) -> npt.NDArray[np.int64]:
        """Frames of features that each utterance needs to have a CTC path at all, int64 [utterances].

        A path has a frame a label, and a blank between labels that are alike (Graves et al. 2006, section 3.1).
        """
        needed = [len(label) + int((label[1:] == label[:-1]).sum()) for label in self.labels]
        known = {count: self.count_frames.least(count) for count in set(needed)}
        return np.array([known[count] for count in needed], np.int64)


def _padded(rows: Sequence[npt.NDArray[np.generic]], multiple: int, value: int) -> npt.NDArray[np.generic]:
    longest = max(len(row) for row in rows)
    shape = len(rows), -(-longest // multiple) * multiple, *rows[0].shape[1:]
    result = np.full(shape, value, rows[0].dtype)
    for place, row in zip(result, rows, strict=True):
        place[: len(row)] = row
    return result


def _input_names(description: Description) -> tuple[str, str]:
    features, *others = description.inputs
    lengths = next((name for name in others if description.inputs[name].lengths_of == features), "")
    unknown = [name for name in others if name != lengths and not description.inputs[name].optional]
    if unknown:
        message = f"takes {', '.join(unknown)} too, which speech with CTC does not give; choose a model with CTC alone"
        raise fault("model", message)
    return features, lengths


def _check_scores(description: Description, tokens: int) -> None:
    outputs = description.output_shapes
    scores = outputs.get(CTC) or next(iter(outputs.values()))
    if len(scores) != 2 or scores[1] != tokens:  # noqa: PLR2004 - time and tokens
        message = f"gives {list(scores)}, wanted [time, {tokens}]: a score for each token of the vocabulary"
        raise fault("model", message)
