"""One small batch for each loss, with what may go wrong in it: paddings, repeats, samples of all lengths."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from services.train_svc.engine.spec import IGNORED, LossSpec

Arrays = dict[str, np.ndarray]
JUNK = 777
"""Stands where nothing may look."""


class Case(NamedTuple):
    spec: LossSpec
    outputs: Arrays
    targets: Arrays


def scores(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


def sequences(tokens: int, *, first: int = 1) -> Arrays:
    """Four samples of up to four labels, with repeats, junk behind their ends, and up to nine frames."""
    lengths = np.array([4, 2, 0, 3])
    labels = np.random.default_rng(1).integers(first, tokens, (4, 4))
    labels[0] = [first, first, first + 1, first]
    labels[np.arange(4) >= lengths[:, None]] = JUNK
    return {"labels": labels, "label_lengths": lengths, "frame_lengths": np.array([9, 4, 5, 7])}


def cross_entropy() -> Case:
    return Case(LossSpec(), {"logits": scores(4, 5)}, {"labels": np.array([1, IGNORED, 4, 0])})


def labelling() -> Case:
    labels = np.random.default_rng(2).integers(0, 5, (4, 6))
    labels[:, 4:] = IGNORED
    labels[2] = IGNORED
    return Case(LossSpec(), {"logits": scores(4, 6, 5)}, {"labels": labels})


def language_model() -> Case:
    return labelling()._replace(spec=LossSpec(name="language_model"))


def masked_lm() -> Case:
    return labelling()._replace(spec=LossSpec(name="masked_lm"))


def segmentation() -> Case:
    labels = np.random.default_rng(3).integers(0, 3, (4, 8, 10))
    labels[:, :2] = IGNORED
    return Case(LossSpec(name="segmentation"), {"logits": scores(4, 3, 3, 4)}, {"labels": labels})


def ctc() -> Case:
    return Case(LossSpec(name="ctc"), {"logits": scores(4, 9, 6)}, sequences(6))


def attention() -> Case:
    targets = sequences(5, first=0)
    del targets["frame_lengths"]
    return Case(LossSpec(name="attention"), {"logits": scores(4, 5, 6)}, targets)


def ctc_attention() -> Case:
    given = {"ctc": scores(4, 9, 6), "logits": scores(4, 5, 6, seed=1), "reverse_logits": scores(4, 5, 6, seed=2)}
    return Case(LossSpec(name="ctc_attention", reverse_weight=0.25), given, sequences(5))


def rnnt() -> Case:
    return Case(LossSpec(name="rnnt"), {"logits": scores(4, 9, 5, 6)}, sequences(6))


def regression() -> Case:
    return Case(LossSpec(name="regression"), {"logits": scores(4, 3)}, {"labels": scores(4, 3, seed=4)})


def forecast() -> Case:
    labels, mask = scores(4, 6, 2, seed=5), np.random.default_rng(6).random((4, 6, 2)) > 0.3
    labels[~mask] = np.nan
    return Case(LossSpec(name="forecast", form="huber"), {"output": scores(4, 6, 2)}, {"labels": labels, "mask": mask})


ALL: dict[str, Callable[[], Case]] = {
    case.__name__: case
    for case in (
        cross_entropy, labelling, language_model, masked_lm, segmentation, ctc, attention, ctc_attention, rnnt,
        regression, forecast,
    )
}  # fmt: skip
