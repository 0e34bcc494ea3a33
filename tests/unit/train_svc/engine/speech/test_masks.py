from typing import Any

import numpy as np
import pytest

from services.train_svc.engine.spec import MaskSpec
from services.train_svc.engine.speech.masks import mask_features
from services.train_svc.engine.speech.speed import change_speed, changed_length


def stretches(masked: Any) -> list[int]:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], masked.astype(int), [0]))))
    return [int(last - first) for first, last in edges.reshape(-1, 2)]


def masked(spec: MaskSpec, seed: int, time: int = 120, bands: int = 80) -> Any:
    features = np.ones((time, bands), np.float32)
    mask_features(features, spec, np.random.default_rng(seed))
    return np.asarray(features == 0)


def test_bands_are_narrower_than_the_width_and_whole() -> None:
    widths = []
    for seed in range(300):
        zero = masked(MaskSpec(frequency_masks=1, frequency_width=27), seed)
        assert (zero.all(0) == zero.any(0)).all()
        widths += stretches(zero.all(0)) or [0]
    assert (min(widths), max(widths)) == (0, 26)


def test_stretches_of_time_are_shorter_than_the_width_and_the_share() -> None:
    for spec, most in (
        (MaskSpec(time_masks=1, time_width=50), 49),
        (MaskSpec(time_masks=1, time_width=100, time_share=0.2), 24),
    ):
        widths = []
        for seed in range(300):
            zero = masked(spec, seed)
            assert (zero.all(1) == zero.any(1)).all()
            widths += stretches(zero.all(1)) or [0]
        assert (min(widths), max(widths)) == (0, most)


def test_places_reach_from_end_to_end() -> None:
    zero: Any = np.array([masked(MaskSpec(time_masks=1, frequency_masks=1), seed) for seed in range(400)])
    assert zero.any((0, 2))[[0, 118]].all()
    assert zero.any((0, 1))[[0, 78]].all()


def test_several_masks_are_several() -> None:
    spec = MaskSpec(frequency_masks=2, frequency_width=10, time_masks=3, time_width=10)
    counts = [(len(stretches(m.all(0))), len(stretches(m.all(1)))) for m in (masked(spec, s, 400) for s in range(100))]
    assert max(bands for bands, _ in counts) == 2
    assert max(times for _, times in counts) == 3


def test_no_masks_change_nothing() -> None:
    assert not masked(MaskSpec(), 0).any()
    assert not masked(MaskSpec(frequency_masks=2, frequency_width=0, time_masks=2, time_width=0), 0).any()


@pytest.mark.parametrize("time", [1, 2])
def test_the_shortest_features_are_masked_without_fault(time: int) -> None:
    for seed in range(20):
        masked(MaskSpec(frequency_masks=2, time_masks=2), seed, time, 1)


@pytest.mark.parametrize("speed", [0.9, 1.1, 0.8, 1.25])
def test_speed_moves_a_tone_and_its_end(speed: float) -> None:
    time = np.arange(16_000) / 16_000
    wave = np.sin(2 * np.pi * 500 * time).astype(np.float32)
    changed = change_speed(wave, speed)
    assert changed.dtype == np.float32
    assert len(changed) == changed_length(16_000, speed)
    assert abs(len(changed) - 16_000 / speed) < 1
    wanted = np.sin(2 * np.pi * 500 * speed * np.arange(len(changed)) / 16_000)
    np.testing.assert_allclose(changed[500:-500], wanted[500:-500], atol=5e-3)


def test_speed_one_is_the_wave_itself() -> None:
    wave = np.zeros(10, np.float32)
    assert change_speed(wave, 1.0) is wave
    assert changed_length(10, 1.0) == 10
