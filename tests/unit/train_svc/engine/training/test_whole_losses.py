"""Every kind of task through `Trainer`, from arrays to a loss that falls and an evaluation that makes sense."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from services.train_svc.engine.batch import Data
from services.train_svc.engine.loading.arrays import ArrayBatches, ArraySource
from tests.unit.train_svc.engine.training.trainers import SMALL_MLP, curve_of, pictures, trainer

Arrays = Mapping[str, npt.NDArray[Any]]
TRANSFORMER = {"num_layers": 1, "d_model": 16, "attention_heads": 2, "feed_forward": 32, "dropout": 0.0}
TOKENS, TIME, BATCH = 12, 8, 8


@dataclass(frozen=True, kw_only=True)
class Task:
    """A tiny model and samples that it can learn by heart."""

    model: Any
    make: Callable[[np.random.Generator], tuple[Arrays, Arrays]]
    loss: Any
    metric: str
    lr: float = 0.01
    settings: Mapping[str, Any] = field(default_factory=dict)


def classes(_random: np.random.Generator) -> tuple[Arrays, Arrays]:
    found, labels = pictures(1, BATCH)[0]
    return {"input": found}, {"labels": labels}


def tags(random: np.random.Generator) -> tuple[Arrays, Arrays]:
    x = random.standard_normal((BATCH, TIME, 3)).astype(np.float32)
    labels = x.argmax(axis=2)
    labels[:, -1] = -100
    return {"input": x}, {"labels": labels}


def speech(random: np.random.Generator) -> tuple[Arrays, Arrays]:
    features = random.standard_normal((BATCH, 48, 80)).astype(np.float32)
    labels = random.integers(1, TOKENS, (BATCH, 4))
    lengths = np.array([4, 3, 2, 4, 1, 4, 3, 2])
    frames = np.full(BATCH, 11)
    return {"features": features}, {"labels": labels, "label_lengths": lengths, "frame_lengths": frames}


def masked(random: np.random.Generator) -> tuple[Arrays, Arrays]:
    tokens = random.integers(1, TOKENS, (BATCH, TIME))
    hidden = random.random((BATCH, TIME)) < 0.3
    return {"tokens": np.where(hidden, 0, tokens)}, {"labels": np.where(hidden, tokens, -100)}


def text(random: np.random.Generator) -> tuple[Arrays, Arrays]:
    tokens = random.integers(0, TOKENS, (BATCH, TIME + 1))
    return {"tokens": tokens[:, :-1]}, {"labels": tokens[:, 1:]}


def areas(random: np.random.Generator) -> tuple[Arrays, Arrays]:
    labels = random.integers(0, 3, (BATCH, 4, 4)).repeat(8, axis=1).repeat(8, axis=2)
    return {"input": np.eye(3, dtype=np.float32)[labels].transpose(0, 3, 1, 2).copy()}, {"labels": labels}


def columns(random: np.random.Generator) -> tuple[Arrays, Arrays]:
    numbers = random.standard_normal((BATCH, 4)).astype(np.float32)
    return {"numbers": numbers}, {"labels": numbers[:, :1] - numbers[:, 1:2]}


def waves(random: np.random.Generator) -> tuple[Arrays, Arrays]:
    phase = random.random((BATCH, 1, 2)) * 6
    curve = np.sin(np.arange(20)[None, :, None] / 2 + phase).astype(np.float32)
    return {"values": curve[:, :16]}, {"labels": curve[:, 16:]}


TAGGER = {"name": "tagger", "inputs": {"input": {"shape": ["time", 3]}}, "body": [{"linear": {"out_features": 3}}]}
CONFORMER = {
    "template": "conformer",
    "encoder": {"num_layers": 1, "d_model": 16, "attention_heads": 2, "kernel_size": 7},
    "decoder": {"type": "ctc", "vocab_size": TOKENS},
}
SEGFORMER = {
    "template": "segformer", "image_height": 32, "image_width": 32, "num_classes": 3, "num_layers": [1, 1],
    "d_model": [8, 16], "attention_heads": [1, 2], "reductions": [2, 1], "decoder_features": 16, "drop_path": 0.0,
    "dropout": 0.0,
}  # fmt: skip
BERT = {"template": "bert", "vocab_size": TOKENS, "max_length": TIME, "head": "masked_lm", **TRANSFORMER}
GPT2 = {"template": "gpt2", "vocab_size": TOKENS, "max_length": TIME, **TRANSFORMER}
PATCHTST = {"template": "patchtst", "context_length": 16, "horizon": 4, "norm": "layer", **TRANSFORMER}
TABLE = {"template": "ft_transformer", "numbers": 4, "num_layers": 1, "d_model": 16, "attention_heads": 2,
         "feed_forward": 16, "attention_dropout": 0.0, "dropout": 0.0}  # fmt: skip
TASKS = {
    "cross_entropy": Task(
        model=SMALL_MLP, make=classes, loss="cross_entropy", metric="accuracy",
        settings={"augment": {"shift_pixels": 0, "rotate_degrees": 0, "scale": 0}},
    ),
    "sequence labelling": Task(model=TAGGER, make=tags, loss="cross_entropy", metric="accuracy", lr=0.1),
    "ctc": Task(model=CONFORMER, make=speech, loss="ctc", metric="cer"),
    "masked_lm": Task(model=BERT, make=masked, loss="masked_lm", metric="perplexity"),
    "language_model": Task(model=GPT2, make=text, loss="language_model", metric="perplexity"),
    "segmentation": Task(model=SEGFORMER, make=areas, loss="segmentation", metric="miou"),
    "regression": Task(model=TABLE, make=columns, loss="regression", metric="rmse"),
    "forecast": Task(model=PATCHTST, make=waves, loss={"name": "forecast", "form": "huber"}, metric="rmse"),
}  # fmt: skip
NORMED = ("ctc", "segmentation")
"""Tasks of models with batch norm, which evaluate with other statistics than they train with."""
CHEAP_ON_TENSORFLOW = ("cross_entropy", "sequence labelling", "masked_lm", "language_model", "regression")
RUNS = [("torch", name) for name in TASKS] + [("tensorflow", name) for name in CHEAP_ON_TENSORFLOW]


def data_of(task: Task) -> Data:
    inputs, targets = task.make(np.random.default_rng(0))
    return Data(
        train=ArraySource(inputs, targets, batch_size=BATCH),
        validation=ArrayBatches(inputs, targets, batch_size=BATCH),
    )


@pytest.mark.parametrize(("engine", "name"), RUNS, ids=str)
def test_each_loss_falls_in_training_and_in_evaluation_and_is_one_number_in_both(
    engine: str, name: str, tmp_path: Path
) -> None:
    task = TASKS[name]
    settings = {"optimizer": {"lr": task.lr, "weight_decay": 0.0}, "schedule": "constant", "keep_best": 0}
    run = trainer(
        task.model, data_of(task), tmp_path, loss=task.loss, engine=engine, epochs=25, **settings, **task.settings
    )
    before = run.evaluate("validation")
    losses = curve_of(run).of("train_loss")
    after = run.evaluate("validation")
    assert losses[-1] < 0.8 * losses[0]
    assert after["loss"] < 0.9 * before["loss"]
    assert math.isfinite(after[task.metric])
    if name not in NORMED:
        # Nothing is drawn, so the first step and the evaluation before it looked at the same numbers.
        assert losses[0] == pytest.approx(before["loss"], rel=1e-5)


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_a_masked_language_model_is_scored_at_its_masked_places_and_its_loss_is_that_of_all_scores(
    engine: str, tmp_path: Path
) -> None:
    data = data_of(TASKS["masked_lm"])
    run = trainer(BERT, data, tmp_path, loss="masked_lm", engine=engine, epochs=1, keep_best=0)
    # Nothing drops, so that the evaluation, which makes every score, must find the loss of the first step.
    before = run.evaluate("validation")
    first = curve_of(run).of("train_loss")[0]
    assert first == pytest.approx(before["loss"], rel=1e-5)
    assert before["perplexity"] == pytest.approx(math.exp(before["loss"]), rel=1e-5)


def test_the_loss_of_a_masked_language_model_is_that_of_numpy(tmp_path: Path) -> None:
    data = data_of(TASKS["masked_lm"])
    run = trainer(BERT, data, tmp_path, loss="masked_lm", epochs=1, label_smoothing=0.1, keep_best=0)
    assert data.validation is not None
    (batch,) = data.validation
    scores = run.learner.predict(batch).outputs["logits"].astype(np.float64)
    logs = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
    losses = [
        -0.9 * logs[row, place, label] - 0.1 * logs[row, place].mean()
        for (row, place), label in np.ndenumerate(batch.targets["labels"])
        if label != -100
    ]
    assert curve_of(run).of("train_loss")[0] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
