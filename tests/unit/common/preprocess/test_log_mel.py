"""Waves to features, against Kaldi's own code."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from services.common.errors import InvalidError
from services.common.preprocess import Preprocess

RATE = 16_000
CHANCE = np.random.default_rng(3)


def fbank(wave: np.ndarray, rate: int = RATE, **mel: Any) -> np.ndarray:
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.samp_freq = 0, rate
    for name, value in mel.items():
        setattr(options.mel_opts, name, value)
    computer = knf.OnlineFbank(options)
    computer.accept_waveform(rate, wave.tolist())
    computer.input_finished()
    return np.array([computer.get_frame(index) for index in range(computer.num_frames_ready)])


def log_mel(**options: Any) -> Preprocess:
    return Preprocess([{"decode_audio": {"sample_rate": options.get("sample_rate", RATE)}}, {"log_mel": options}])


def voice(samples: int, rate: int = RATE) -> np.ndarray:
    """Tones that glide and fade, an offset, and a little noise: loud and quiet frames, high and low."""
    time = np.arange(samples) / rate
    tones = sum(np.sin(2 * np.pi * (110 * n * time + 40 * n * time**2)) / n for n in range(1, 20))
    wave = 0.1 * tones * (0.55 + 0.45 * np.cos(2 * np.pi * time)) + 0.02 + 0.003 * CHANCE.standard_normal(samples)
    return wave.astype(np.float32)


@pytest.mark.parametrize("samples", [400, 559, 560, 16_000, 48_123])
def test_it_equals_kaldis_fbank(samples: int) -> None:
    wave = voice(samples)
    got, wanted = log_mel(mel_bins=80).one(wave), fbank(wave, num_bins=80)
    assert got.shape == wanted.shape == (1 + (samples - 400) // 160, 80)
    assert np.abs(got - wanted).max() < 1e-3


@pytest.mark.parametrize(
    ("ours", "kaldis"),
    [
        ({"mel_bins": 40, "low_hz": 60}, {"num_bins": 40, "low_freq": 60}),
        ({"mel_bins": 80, "high_hz": -400}, {"num_bins": 80, "high_freq": -400}),
        ({"mel_bins": 23, "high_hz": 3800}, {"num_bins": 23, "high_freq": 3800}),
    ],
)
def test_bands_are_kaldis_too(ours: dict[str, Any], kaldis: dict[str, Any]) -> None:
    wave = voice(8_000)
    assert np.abs(log_mel(**ours).one(wave) - fbank(wave, **kaldis)).max() < 1e-3


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_other_rates_are_kaldis_too(rate: int) -> None:
    wave = voice(2 * rate, rate)
    got, wanted = log_mel(sample_rate=rate, mel_bins=40).one(wave), fbank(wave, rate, num_bins=40)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 1e-3


def test_silence_is_kaldis_floor() -> None:
    silence = np.zeros(1000, np.float32)
    np.testing.assert_array_equal(log_mel().one(silence), np.float32(math.log(np.finfo(np.float32).eps)))
    np.testing.assert_allclose(fbank(silence, num_bins=80), math.log(np.finfo(np.float32).eps), rtol=1e-6)


def test_a_frame_is_what_the_definition_says() -> None:
    # Word for word in float64, one frame: mean, pre-emphasis, window, power, triangles.
    wave = voice(400).astype(np.float64)
    frame = wave - wave.mean()
    frame = np.array([frame[n] - 0.97 * frame[max(n - 1, 0)] for n in range(400)])
    frame *= [(0.5 - 0.5 * math.cos(2 * math.pi * n / 399)) ** 0.85 for n in range(400)]
    power = np.abs(np.fft.fft(frame, 512)) ** 2

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    edges = [mel(20) + (mel(8000) - mel(20)) * n / 81 for n in range(82)]
    energies = []
    for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
        places = [(mel(k * 16000 / 512), power[k]) for k in range(256)]
        rising = sum(p * (m - left) / (centre - left) for m, p in places if left < m <= centre)
        energies.append(rising + sum(p * (right - m) / (right - centre) for m, p in places if centre < m < right))
    np.testing.assert_allclose(log_mel().one(wave.astype(np.float32))[0], np.log(energies), atol=1e-4)


def test_a_scale_of_16_bits_adds_its_logarithm() -> None:
    wave = voice(8_000)
    shift = log_mel(scale=32768).one(wave) - log_mel().one(wave)
    np.testing.assert_allclose(shift, 2 * math.log(32768), atol=1e-4)


def test_int16_means_the_same_as_its_floats() -> None:
    samples = (voice(8_000) * 20_000).astype(np.int16)
    np.testing.assert_array_equal(log_mel().one(samples), log_mel().one(samples.astype(np.float32) / 32768))


def test_a_batch_equals_its_waves_one_by_one() -> None:
    waves, steps = [voice(9_000) for _ in range(3)], log_mel(dither=1e-4)
    np.testing.assert_array_equal(steps.batch(waves), np.stack([steps.one(wave) for wave in waves]))


def test_dither_keeps_silence_off_the_floor_the_same_at_every_call() -> None:
    silence, steps = np.zeros(4_000, np.float32), log_mel(dither=1.0, scale=32768)
    first = steps.one(silence)
    assert first.min() > math.log(np.finfo(np.float32).eps) + 5
    np.testing.assert_array_equal(first, steps.one(silence))


def test_threads_share_the_step() -> None:
    waves, steps = [voice(4_000 + 160 * n) for n in range(8)], log_mel()
    with ThreadPoolExecutor(4) as pool:
        for got, wave in zip(pool.map(steps.one, waves), waves, strict=True):
            np.testing.assert_array_equal(got, steps.one(wave))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(399, np.float32), "399 samples are shorter than one frame, 400"),
        (np.full(800, np.nan, np.float32), "no finite numbers"),
        (np.full(800, 3e38, np.float32), "too large"),
        (np.zeros(800, np.int64), "FP32 or INT16"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_wave_that_cannot_be_is_named(value: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidError, match=rf"a\.wav: .*{message}"):
        log_mel().one(value, "a.wav")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mel_bins": 0}, "mel_bins"),
        ({"mel_bins": 200}, "too many"),
        ({"sample_rate": 10}, "sample_rate"),
        ({"low_hz": 9000}, "must rise"),
        ({"high_hz": 9000}, "half of 16000"),
        ({"scale": 0}, "scale"),
        ({"bins": 80}, "mel_bins"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidError, match=message):
        Preprocess([{"log_mel": options}])


def test_undecoded_audio_is_refused_with_the_cure() -> None:
    with pytest.raises(InvalidError, match="put decode_audio before it"):
        Preprocess(["log_mel"]).one(b"RIFF")


def test_features_are_normalised_each_by_its_own() -> None:
    features = CHANCE.standard_normal((2, 5, 3)).astype(np.float32)
    steps = Preprocess(["none", {"normalize_features": {"mean": [1, 2, 3], "std": [1, 2, 4]}}])
    wanted = (features - np.array([1, 2, 3])) / np.array([1, 2, 4])
    np.testing.assert_allclose(steps.one(features), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(steps.one(features[0]), steps.one(features)[0])


@pytest.mark.parametrize(
    "options", [{"mean": [1], "std": [0]}, {"mean": [1, 2], "std": [1]}, {"mean": [], "std": []}, {}]
)
def test_a_normalisation_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidError, match="normalize_features"):
        Preprocess(["none", {"normalize_features": options}])


def test_another_number_of_features_is_named() -> None:
    steps = Preprocess(["none", {"normalize_features": {"mean": [1, 2], "std": [1, 2]}}])
    with pytest.raises(InvalidError, match=r"b\.wav: .*2 features.*\[4, 3\]"):
        steps.one(np.zeros((4, 3), np.float32), "b.wav")
