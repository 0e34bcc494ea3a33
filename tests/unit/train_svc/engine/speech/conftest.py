"""A small corpus of tones, in memory."""

from typing import Any

import numpy as np
import pytest

from services.common.preprocess import Preprocess
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.speech.tokens import Vocabulary
from services.train_svc.engine.speech.utterance import Utterance
from services.train_svc.engine.templates import describe

RATE, BINS = 16_000, 8
WORDS = ("go", "stop", "turn left", "打开灯", "一二三", "hello")


def utterance(number: int, seconds: float, text: str, **fields: Any) -> Utterance:
    chance = np.random.default_rng(number)
    time = np.arange(int(seconds * RATE)) / RATE
    wave = 0.3 * np.sin(2 * np.pi * chance.uniform(200, 3000) * time) + 0.01 * chance.standard_normal(len(time))
    return Utterance(id=f"u{number:03}", audio=wave.astype(np.float32), text=text, **fields)


@pytest.fixture(scope="session")
def utterances() -> list[Utterance]:
    """50 utterances of 0.4 to 1.2 seconds."""
    lengths = np.random.default_rng(0).uniform(0.4, 1.2, 50)
    return [utterance(n, float(seconds), WORDS[n % len(WORDS)]) for n, seconds in enumerate(lengths)]


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return Vocabulary.of(WORDS)


@pytest.fixture(scope="session")
def preprocess() -> Preprocess:
    return Preprocess(["decode_audio", {"log_mel": {"mel_bins": BINS}}])


@pytest.fixture(scope="session")
def description(vocabulary: Vocabulary) -> Description:
    """A Conformer of two layers with CTC."""
    return describe(
        "conformer",
        features=BINS,
        encoder={"num_layers": 2, "d_model": 8, "attention_heads": 2, "kernel_size": 5},
        decoder={"type": "ctc", "vocab_size": len(vocabulary)},
    )
