"""One recording with what is said in it."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.errors import InvalidError
from services.common.preprocess.steps.decode_audio import resampled_length
from services.train_svc.engine.reading import fault

Audio = Path | bytes | npt.NDArray[Any] | Callable[[], bytes | npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One recording with what is said in it."""

    id: str
    """Names it in messages, and in tables of errors."""
    audio: Audio
    """A file, a file's bytes, PCM [samples] (FP32 or INT16, at the rate of the preprocessing), or what gives the
    latter two when it is called."""
    text: str
    """What is said."""
    language: str = ""
    """Such as `zh` or `en`, for errors by language."""
    speaker: str = ""
    """Who says it, where that is known."""
    samples: int = 0
    """How many there are at the rate of the preprocessing; 0: read from the file's header."""

    def read(self) -> Any:  # noqa: ANN401 - what the first step of preprocessing takes
        """Return the recording's bytes or PCM.

        Raises:
            InvalidError: its file cannot be read; the utterance is named.
        """
        if not isinstance(self.audio, Path):
            return self.audio() if callable(self.audio) else self.audio
        try:
            return self.audio.read_bytes()
        except OSError as error:
            raise fault(self.id, f"cannot be read: {error}") from error

    def count_samples(self, rate: int) -> int:
        """Return how many samples it has at a rate in Hz, without decoding it where it is a file.

        Raises:
            InvalidError: it is no recording; the utterance is named.
        """
        if self.samples:
            return self.samples
        import soundfile  # type: ignore[import-untyped]  # noqa: PLC0415 - has no types; loads a library

        raw: Any = str(self.audio) if isinstance(self.audio, Path) else self.read()
        if isinstance(raw, np.ndarray):
            return len(raw)
        try:
            return _header_samples(soundfile, raw, rate)
        except (soundfile.SoundFileError, OSError, ValueError) as error:
            raise InvalidError(
                f"{self.id}: is no recording of a known form, or damaged: {error}", field=self.id
            ) from error


def _header_samples(soundfile: Any, raw: Any, rate: int) -> int:  # noqa: ANN401 - a library without types
    header = soundfile.info(raw if isinstance(raw, str) else io.BytesIO(raw))
    return resampled_length(header.frames, header.samplerate, rate)
