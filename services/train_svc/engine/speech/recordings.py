"""Utterances as features, made when they are asked for and kept while they fit."""

import threading
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.common.errors import InvalidError
from services.common.preprocess import Preprocess
from services.common.preprocess.steps.decode_audio import DecodeAudio
from services.common.preprocess.steps.log_mel import LogMel
from services.train_svc.engine.reading import fault
from services.train_svc.engine.speech.speed import change_speed, changed_length
from services.train_svc.engine.speech.utterance import Utterance

IN_MEMORY_BYTES = 512 << 20
"""Features beyond this are computed anew each time."""

Features = npt.NDArray[np.float32]


class Recordings:
    """Features [time, features] of utterances at any speed. Safe to use from several threads.

    Args:
        utterances: what is said, in a fixed order.
        preprocess: `decode_audio`, `log_mel`, and what follows: at its rate lengths are counted, and speeds are changed
            between the two.
        memory_bytes: of features to keep.

    Raises:
        InvalidError: there is no utterance, two have one id, or preprocessing does not begin with these steps, at one
            rate.
    """

    def __init__(
        self, utterances: Sequence[Utterance], preprocess: Preprocess, memory_bytes: int = IN_MEMORY_BYTES
    ) -> None:
        if not utterances:
            raise fault("data", "has no utterance")
        ids = [utterance.id for utterance in utterances]
        if len(set(ids)) < len(ids):
            twice = next(name for name in ids if ids.count(name) > 1)
            raise fault("data", f"has two utterances of the id {twice!r}; ids must differ")
        self.utterances = utterances
        self.preprocess = preprocess
        self._mel = _mel_of(preprocess)
        self._kept: dict[tuple[int, float], Features] = {}
        self._free_bytes = memory_bytes
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many utterances there are."""
        return len(self.utterances)

    @cached_property
    def samples(self) -> npt.NDArray[np.int64]:
        """Samples of each utterance, int64 [utterances], by its header.

        Raises:
            InvalidError: one is no recording, or shorter than a frame; it is named.
        """
        counts = np.array([each.count_samples(self._mel.sample_rate) for each in self.utterances], np.int64)
        short = np.flatnonzero(counts < self._mel.frame_samples)
        if len(short):
            name, count = self.utterances[short[0]].id, counts[short[0]]
            raise fault(name, f"has {count} samples, less than a frame of {self._mel.frame_samples}; leave it out")
        return counts

    def frames(self, speed: float = 1.0) -> npt.NDArray[np.int64]:
        """Return the frames of each utterance at a speed, int64 [utterances]."""
        return np.array([self._mel.frames(changed_length(int(count), speed)) for count in self.samples], np.int64)

    def features(self, index: int, speed: float = 1.0) -> Features:
        """Return the features of one utterance; do not write to them.

        Raises:
            InvalidError: it cannot be read; it is named.
        """
        key = index, speed
        found = self._kept.get(key)
        if found is None:
            found = self._compute(index, speed)
            with self._lock:
                if key not in self._kept and found.nbytes <= self._free_bytes:
                    self._kept[key] = found
                    self._free_bytes -= found.nbytes
        return found

    def _compute(self, index: int, speed: float) -> Features:
        utterance = self.utterances[index]
        wave = self.preprocess.decode(utterance.read(), utterance.id)
        if wave.ndim != 1:
            raise fault(utterance.id, f"has shape {list(wave.shape)}, wanted one channel: [samples]")
        features = self.preprocess.finish(change_speed(wave, speed), utterance.id)
        features.flags.writeable = False
        return features


def _mel_of(preprocess: Preprocess) -> LogMel:
    first, *rest = preprocess.steps
    mel = rest[0] if rest else None
    if not isinstance(first, DecodeAudio) or not isinstance(mel, LogMel):
        raise InvalidError("preprocessing of speech begins with decode_audio and log_mel", field="preprocess")
    if first.sample_rate != mel.sample_rate:
        message = f"decode_audio gives {first.sample_rate} Hz and log_mel takes {mel.sample_rate}; set both alike"
        raise InvalidError(message, field="preprocess")
    return mel
