"""Waves to log-mel energies, equal to Kaldi's."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.common.preprocess.registry import step
from services.common.preprocess.steps.decode_audio import RATES_HZ, as_wave

Floats = NDArray[np.float32]

FRAME_MS, SHIFT_MS = 25, 10
PREEMPHASIS = np.float32(0.97)
_FLOOR = np.finfo(np.float32).eps
_BLOCK = 256
"""Frames at a time: what is between the steps stays in the processor's cache."""


@step("log_mel")
@dataclass(frozen=True, kw_only=True)
class LogMel:
    """FP32 or INT16 PCM [..., samples] to FP32 [..., frames, mel_bins]: natural logarithms of mel energies.

    Kaldi's `fbank` (Povey et al. 2011) to 1e-3: frames of 25 ms every 10 ms, none beyond the ends; mean removed,
    pre-emphasis 0.97, window (0.5 - 0.5 cos)^0.85, power spectrum of the next power of two, triangles that are linear
    in mel, and a floor of the smallest float32 step.
    """

    sample_rate: int = 16_000
    """Of the wave, in Hz."""
    mel_bins: int = 80
    """Triangles."""
    low_hz: float = 20.0
    """Where the lowest begins."""
    high_hz: float = 0.0
    """Where the highest ends; 0 and below: counted from half the rate."""
    scale: float = 1.0
    """Multiplies the wave, which is in -1 to 1; 32768 gives the energies that Kaldi makes of 16-bit samples."""
    dither: float = 0.0
    """Standard deviation of noise that is added after scaling, the same at every call; 0: none, as parity needs."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be."""
        if not RATES_HZ[0] <= self.sample_rate <= RATES_HZ[1] or self.mel_bins < 1:
            raise InvalidError(
                f"sample_rate {self.sample_rate} is not in {RATES_HZ[0]}..{RATES_HZ[1]} Hz, or mel_bins "
                f"{self.mel_bins} is not positive"
            )
        if not (np.isfinite(self.scale) and self.scale > 0 and np.isfinite(self.dither) and self.dither >= 0):
            raise InvalidError(f"scale {self.scale} must be above 0, and dither {self.dither} at least 0")
        if not 0 <= self.low_hz < self.top_hz <= self.sample_rate / 2:
            raise InvalidError(
                f"low_hz {self.low_hz} and high_hz {self.top_hz} must rise, up to half of {self.sample_rate}"
            )
        empty = np.flatnonzero(~_triangles(self).any(0))
        if len(empty):
            raise InvalidError(f"mel_bins {self.mel_bins} are too many: no frequency falls into bin {empty[0]}")

    @property
    def top_hz(self) -> float:
        """Where the highest triangle ends."""
        return self.high_hz if self.high_hz > 0 else self.sample_rate / 2 + self.high_hz

    @property
    def frame_samples(self) -> int:
        """Samples in a frame."""
        return self.sample_rate * FRAME_MS // 1000

    @property
    def shift_samples(self) -> int:
        """Samples from one frame to the next."""
        return self.sample_rate * SHIFT_MS // 1000

    def frames(self, samples: int) -> int:
        """Return how many frames a wave of so many samples has; 0 where it is shorter than one."""
        return max(0, 1 + (samples - self.frame_samples) // self.shift_samples)

    def __call__(self, value: Any) -> Floats:  # noqa: ANN401 - the registry's signature
        """Return the energies. Raises InvalidError for what is no wave, shorter than a frame, or not finite."""
        if not isinstance(value, np.ndarray):
            raise InvalidError("log_mel takes decoded audio; put decode_audio before it")
        wave = as_wave(value)
        frames = self.frames(wave.shape[-1])
        if not frames:
            raise InvalidError(f"{wave.shape[-1]} samples are shorter than one frame, {self.frame_samples} samples")
        rows = wave.reshape(-1, wave.shape[-1])
        result = np.empty((len(rows), frames, self.mel_bins), np.float32)
        for row, out in zip(rows, result, strict=True):
            self._fill(row, out)
        if not np.isfinite(result).all():
            raise InvalidError("the wave has samples that are too large or no finite numbers")
        return result.reshape(*wave.shape[:-1], frames, self.mel_bins)

    def _fill(self, wave: Floats, out: Floats) -> None:
        wave = self._scaled(wave)
        rising = np.zeros_like(wave)
        np.subtract(wave[1:], wave[:-1] * PREEMPHASIS, out=rising[1:])
        frames, risen = (
            sliding_window_view(each, self.frame_samples)[:: self.shift_samples] for each in (wave, rising)
        )
        window, triangles = _window(self.frame_samples), _triangles(self)
        padded = np.zeros((min(_BLOCK, len(out)), 2 * len(triangles)), np.float32)
        for start in range(0, len(out), _BLOCK):
            rows = slice(start, start + _BLOCK)
            block = padded[: len(out[rows])]
            inner = block[:, : self.frame_samples]
            # Pre-emphasis of x - mean, all frames at once. A frame's first sample, which has none before it, is an
            # exception, but the window is zero there.
            np.subtract(risen[rows], (1 - PREEMPHASIS) * frames[rows].mean(1, keepdims=True), out=inner)
            inner *= window
            spectrum = np.fft.rfft(block)[:, :-1]
            power = spectrum.real**2
            power += spectrum.imag**2
            np.matmul(power, triangles, out=out[rows])
        np.maximum(out, _FLOOR, out=out)
        np.log(out, out=out)

    def _scaled(self, wave: Floats) -> Floats:
        if self.scale != 1:
            wave = wave * np.float32(self.scale)
        if self.dither:
            wave = wave + np.random.default_rng(0).standard_normal(len(wave), np.float32) * np.float32(self.dither)
        return wave


@cache
def _window(samples: int) -> Floats:
    turns = np.arange(samples) * (2 * np.pi / (samples - 1))
    window: Floats = ((0.5 - 0.5 * np.cos(turns)) ** 0.85).astype(np.float32)
    return window


@cache
def _triangles(options: LogMel) -> Floats:
    # [half the transform, mel_bins]: half the rate itself belongs to no triangle.
    size = 1 << (options.frame_samples - 1).bit_length()
    edges = np.linspace(_mel(options.low_hz), _mel(options.top_hz), options.mel_bins + 2)
    here = _mel(np.arange(size // 2) * (options.sample_rate / size))[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    sides = np.minimum((here - left) / (centre - left), (right - here) / (right - centre))
    triangles: Floats = np.maximum(sides, 0).astype(np.float32)
    return triangles


def _mel(hertz: Any) -> Any:  # noqa: ANN401 - a number or an array of them
    return 1127 * np.log1p(np.asarray(hertz) / 700)
