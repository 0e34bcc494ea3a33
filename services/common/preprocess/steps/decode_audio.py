"""Recordings to waves."""

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.common.preprocess.registry import step

RATES_HZ = (1_000, 384_000)
"""Least and greatest rate of a recording: a header that says more would cost gigabytes of filter."""
_BLOCK_FRAMES = 1 << 20
_FULL_SCALE = 32768


@step("decode_audio")
@dataclass(frozen=True, kw_only=True)
class DecodeAudio:
    """A recording (WAV, FLAC, OGG, ...) to FP32 [samples]: one channel, -1 to 1, at `sample_rate`.

    Several channels become their mean. An array is taken as PCM at `sample_rate`: see `as_wave`.
    """

    sample_rate: int = 16_000
    """Of the result, in Hz; recordings of another rate are resampled with a windowed sinc."""
    max_samples: int = 64_000_000
    """Longer recordings, all channels together, are refused before all of it is decoded; an hour at 16 kHz fits."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        if not RATES_HZ[0] <= self.sample_rate <= RATES_HZ[1] or self.max_samples < 1:
            raise InvalidError(
                f"sample_rate {self.sample_rate} is not in {RATES_HZ[0]}..{RATES_HZ[1]} Hz, or max_samples "
                f"{self.max_samples} is not positive"
            )

    def __call__(self, value: Any) -> NDArray[np.float32]:  # noqa: ANN401 - the registry's signature
        """Decode one recording. Raises InvalidError if it is none, is cut short, too long or not finite."""
        if isinstance(value, np.ndarray):
            return as_wave(value)
        wave, rate = self._read(value)
        if not np.isfinite(wave).all():
            raise InvalidError("the recording has samples that are no finite numbers; write it anew")
        return resample(wave, rate, self.sample_rate)

    def _read(self, data: bytes) -> tuple[NDArray[np.float32], int]:
        # Only who decodes needs libsndfile: services that know this step by name alone may lack it.
        import soundfile  # type: ignore[import-untyped]  # noqa: PLC0415 - has no types

        try:
            with soundfile.SoundFile(io.BytesIO(data)) as file:
                return self._mono(file), int(file.samplerate)
        except (soundfile.SoundFileError, OSError, ValueError) as error:
            reason = str(error).rpartition(": ")[2].rstrip(".")
            raise InvalidError(
                f"not a recording of a known form (WAV, FLAC, OGG, ...), or damaged: {reason}"
            ) from error

    def _mono(self, file: Any) -> NDArray[np.float32]:  # noqa: ANN401 - of a library without types
        blocks: list[NDArray[np.float32]] = []
        read = 0
        # In blocks: what the header says may be far from what there is, in streamed files on purpose.
        while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
            read += len(block)
            if read * file.channels > self.max_samples:
                raise InvalidError(f"the recording has over {self.max_samples} samples, the limit; cut it in pieces")
            blocks.append(block[:, 0] if file.channels == 1 else block.mean(1))
        if not read or (file.frames > read and file.seekable()):
            raise InvalidError(f"the recording is empty or cut short: {read} frames")
        return np.concatenate(blocks)


def as_wave(value: NDArray[Any]) -> NDArray[np.float32]:
    """Return PCM [..., samples] as FP32: floats as they are, INT16 divided by 32768. Raises InvalidError for others."""
    if value.dtype == np.int16:
        return value.astype(np.float32) / np.float32(_FULL_SCALE)
    if value.dtype.kind != "f" or not value.ndim:
        raise InvalidError(f"PCM is FP32 or INT16 [samples]; got {value.dtype} of shape {list(value.shape)}")
    return value.astype(np.float32, copy=False)


def resample(wave: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    """Return FP32 [samples] at another rate, `resampled_length` long (polyphase, Kaiser window with beta 5).

    Raises:
        InvalidError: the rate cannot be, or SciPy is not there and the rates differ.
    """
    if rate == wanted:
        return wave
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise InvalidError(f"the recording's rate is {rate} Hz, not in {RATES_HZ[0]}..{RATES_HZ[1]}")
    try:
        from scipy.signal import resample_poly  # type: ignore[import-untyped]  # noqa: PLC0415 - optional, no types
    except ImportError as error:
        message = f"the recording's rate is {rate} Hz, wanted {wanted}; install scipy, or resample it before"
        raise InvalidError(message) from error
    common = math.gcd(rate, wanted)
    result: NDArray[np.float32] = resample_poly(wave, wanted // common, rate // common)
    return result.astype(np.float32, copy=False)


def resampled_length(samples: int, rate: int, wanted: int) -> int:
    """Return how many samples `resample` makes."""
    return -(-samples * wanted // rate)
