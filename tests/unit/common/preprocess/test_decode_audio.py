"""Recordings to waves."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]  # has no types

from services.common.errors import InvalidError
from services.common.preprocess import Preprocess
from services.common.preprocess.steps.decode_audio import resample, resampled_length

RATE = 16_000


def tone(hertz: float = 440, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    wave: np.ndarray = (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)
    return wave


def recording(wave: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def decode(raw: Any, **options: Any) -> np.ndarray:
    return Preprocess([{"decode_audio": options}]).one(raw, "a.wav")


@pytest.mark.parametrize(
    ("form", "subtype", "error"),
    [
        ("WAV", "FLOAT", 0),
        ("WAV", "PCM_16", 5e-5),
        ("WAV", "PCM_U8", 1e-2),
        ("FLAC", "PCM_24", 1e-6),
        ("OGG", None, 0.03),
    ],
)
def test_common_forms_are_decoded(form: str, subtype: str | None, error: float) -> None:
    got = decode(recording(tone(), form=form, subtype=subtype))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, tone(), atol=error)


def test_several_channels_become_their_mean() -> None:
    left, right = tone(440), tone(700)
    np.testing.assert_allclose(decode(recording(np.stack([left, right], 1))), (left + right) / 2, atol=5e-5)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_resampled_to_the_same_tone(rate: int) -> None:
    got = decode(recording(tone(rate=rate), rate, subtype="FLOAT"))
    assert len(got) == resampled_length(int(0.5 * rate), rate, RATE) == RATE // 2
    inner = slice(800, -800)  # The filter sees zeros beyond the ends.
    np.testing.assert_allclose(got[inner], tone()[inner], atol=2e-3)


def test_what_the_new_rate_cannot_hold_is_filtered_out() -> None:
    got = decode(recording(tone(12_000, rate=48_000), 48_000))
    assert np.abs(got[800:-800]).max() < 1e-3


def test_pcm_passes_as_floats() -> None:
    wave = tone()
    np.testing.assert_array_equal(decode(wave), wave)
    np.testing.assert_allclose(decode((wave * 32768).astype(np.int16)), wave, atol=4e-5)


def test_a_stream_that_does_not_know_its_length_is_read_whole() -> None:
    raw = bytearray(recording(tone(), subtype="PCM_16"))
    raw[4:8] = raw[40:44] = b"\xff\xff\xff\xff"  # As programs write it that cannot go back: espeak-ng --stdout.
    np.testing.assert_allclose(decode(bytes(raw)), tone(), atol=5e-5)


def test_a_long_recording_is_refused_before_all_of_it_is_decoded() -> None:
    silence = recording(np.zeros((3_000_000, 2), np.float32), form="FLAC")
    with pytest.raises(InvalidError, match=r"a\.wav: .*over 1000000 samples"):
        decode(silence, max_samples=1_000_000)


@pytest.mark.parametrize("raw", [b"", b"no recording", b"RIFF\x00\x00\x00\x00WAVEfmt "])
def test_what_is_no_recording_is_named(raw: bytes) -> None:
    with pytest.raises(InvalidError, match=r"a\.wav: (not a recording|the recording is empty)"):
        decode(raw)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG"])
def test_a_recording_cut_anywhere_is_invalid_or_shorter_never_another_error(form: str) -> None:
    whole = recording(tone(seconds=0.2), form=form)
    for length in range(0, len(whole), max(1, len(whole) // 100)):
        try:
            assert len(decode(whole[:length])) <= RATE // 5
        except InvalidError as error:
            assert error.message.startswith("a.wav: ")  # noqa: PT017 - either is right


def test_samples_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InvalidError, match=r"a\.wav: .*no finite numbers"):
        decode(recording(np.array([0, np.nan, 0], np.float32), subtype="FLOAT"))


@pytest.mark.parametrize("rate", [1, 999, 2_000_000_000])
def test_a_rate_that_cannot_be_costs_nothing(rate: int) -> None:
    raw = bytearray(recording(tone(), subtype="PCM_16"))
    raw[24:28] = rate.to_bytes(4, "little")
    with pytest.raises(InvalidError, match=r"a\.wav: .*rate is \d+ Hz"):
        decode(bytes(raw))


def test_without_scipy_another_rate_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    assert len(resample(tone(), RATE, RATE)) == RATE // 2
    with pytest.raises(InvalidError, match="8000 Hz, wanted 16000; install scipy"):
        resample(tone(), 8_000, RATE)


@pytest.mark.parametrize("options", [{"sample_rate": 0}, {"max_samples": 0}, {"rate": 16000}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidError, match="decode_audio"):
        Preprocess([{"decode_audio": options}])


def test_naming_the_step_loads_no_decoder() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from services.common.preprocess import known_steps as k; k(); sys.exit('soundfile' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
