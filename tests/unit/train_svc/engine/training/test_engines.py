"""Whole runs on both engines: resumed exactly, across engines too, and in pieces."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.train_svc.engine.training.trainer import Trainer
from tests.unit.train_svc.engine.training.trainers import (
    ALL_AT_ONCE,
    SMALL_MLP,
    Pairs,
    curve_of,
    in_pieces,
    pictures,
    trainer,
    weights_of,
)

ACROSS = 2e-5
"""Relative difference of the losses of two engines: that of outputs and gradients in the parity tests. Seen: 2e-7."""
ROUNDING = 2e-5
"""Relative difference of the same sums in another order."""
DROPPING = {"template": "mlp", "hidden": [16], "dropout": 0.3}
NORMED = {"template": "resnet_small", "width": 4, "dropout": 0.2}
BERT = {"template": "bert", "vocab_size": 40, "num_layers": 1, "d_model": 16, "attention_heads": 2,
        "feed_forward": 32, "max_length": 16, "dropout": 0.0, "head": "masked_lm"}  # fmt: skip


@pytest.mark.parametrize(
    ("engine", "model"),
    [("torch", DROPPING), ("torch", NORMED), ("tensorflow", DROPPING)],
    ids=["torch", "torch with batch norm", "tensorflow"],
)
def test_a_run_stopped_mid_epoch_equals_one_that_was_not_with_all_that_is_random_at_once(
    engine: str, model: dict[str, Any], tmp_path: Path
) -> None:
    data = pictures(), pictures(2, seed=1)
    settings = {**ALL_AT_ONCE, "engine": engine, "keep_best": 0}
    straight = trainer(model, data, tmp_path / "whole", **settings)
    whole = curve_of(straight)

    def make(_attempt: int) -> Trainer:
        return trainer(model, data, tmp_path / "pieces", **settings)

    pieces, last = in_pieces(make, (2, 7, 9))
    assert pieces.points == whole.points
    assert whole.steps == 12
    wanted = weights_of(straight)
    assert all(np.array_equal(tensor, wanted[name]) for name, tensor in weights_of(last).items())


@pytest.mark.parametrize("first", ["torch", "tensorflow"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lion", "adafactor"])
def test_a_run_goes_on_with_the_other_engine(first: str, optimizer: str, tmp_path: Path) -> None:
    engines = [first, {"torch": "tensorflow", "tensorflow": "torch"}[first]]
    data = pictures()
    settings = {
        "optimizer": {"name": optimizer, "lr": 3e-3},
        "ema_decay": 0.9,
        "clip": "autoclip",
        "augment": {"erase": 0.5},
        "seed": 3,
    }
    begun = curve_of(trainer(SMALL_MLP, data, tmp_path / "a", engine=first, **settings), stop_at=5)

    def make(attempt: int) -> Trainer:
        return trainer(SMALL_MLP, data, tmp_path / "b", engine=engines[attempt], **settings)

    mixed, last = in_pieces(make, (5,))
    straight = trainer(SMALL_MLP, data, tmp_path / "c", engine=first, **settings)
    whole = curve_of(straight)
    assert mixed.of("train_loss")[:5] == begun.of("train_loss")
    assert [point[:2] for point in mixed.points] == [point[:2] for point in whole.points]
    for key in ("train_loss", "gradient_norm", "learning_rate"):
        assert mixed.of(key) == pytest.approx(whole.of(key), rel=ACROSS), key
    wanted = weights_of(straight)
    for name, tensor in weights_of(last).items():
        np.testing.assert_allclose(tensor, wanted[name], atol=ACROSS, err_msg=name)


def masked() -> Pairs:
    """Return tokens [8, 12] and labels at some of the places, not as many in each row."""
    random = np.random.default_rng(0)
    tokens = random.integers(0, 40, (3, 8, 12))
    share = np.linspace(0.05, 0.9, 8)[None, :, None]
    labels = np.where(random.random(tokens.shape) < share, tokens, -100)
    return list(zip(tokens, labels, strict=True))


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
@pytest.mark.parametrize(("model", "loss"), [(SMALL_MLP, "cross_entropy"), (BERT, "masked_lm")], ids=["mlp", "bert"])
def test_four_pieces_give_the_curve_of_the_whole_batch(
    engine: str, model: dict[str, Any], loss: str, tmp_path: Path
) -> None:
    data: Pairs = pictures(3) if loss == "cross_entropy" else masked()
    # Rows of the masked batches have few labels or many, so that a mean of means would be another number.
    settings = {"loss": loss, "engine": engine, "optimizer": {"name": "sgd", "lr": 0.1}, "epochs": 3}
    one, four = (
        curve_of(trainer(model, data, tmp_path / str(pieces), accumulate=pieces, **settings)) for pieces in (1, 4)
    )
    assert four.of("train_loss") == pytest.approx(one.of("train_loss"), rel=ROUNDING)
    assert four.of("gradient_norm") == pytest.approx(one.of("gradient_norm"), rel=10 * ROUNDING)


def test_a_run_may_go_on_in_other_pieces(tmp_path: Path) -> None:
    data = pictures(4)
    whole = curve_of(trainer(SMALL_MLP, data, tmp_path / "whole"))

    def make(attempt: int) -> Trainer:
        return trainer(SMALL_MLP, data, tmp_path / "pieces", accumulate=1 + attempt)

    mixed, _ = in_pieces(make, (3,))
    assert mixed.of("train_loss") == pytest.approx(whole.of("train_loss"), rel=ROUNDING)
