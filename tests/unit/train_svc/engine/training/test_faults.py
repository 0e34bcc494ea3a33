"""What goes wrong in a run, each time with one message: what, where, and what to do. The run before it is kept."""

import importlib
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from services.common.errors import InvalidError, StorageFullError
from services.train_svc.engine.checkpointing import list_checkpoints, read_checkpoint
from services.train_svc.engine.sinks import read_curve
from services.train_svc.engine.training.trainer import Trainer
from tests.unit.train_svc.engine.checkpointing.conftest import small_disk  # noqa: F401 - a fixture
from tests.unit.train_svc.engine.training.trainers import (
    ALL_AT_ONCE,
    SMALL_MLP,
    Recorder,
    curve_of,
    pictures,
    trainer,
    vectors,
    weights_of,
)

LINE = {"name": "line", "input_shape": [4], "body": [{"linear": {"name": "line", "out_features": 3}}]}
OFTEN = {"checkpoint_every_s": 1e-9}


def marked(step: int, value: float, batches: int = 6) -> list[dict[str, Any]]:
    """Return batches with ids; a sample of one of them begins with `value`."""
    found: list[dict[str, Any]] = [
        {"input": x, "labels": y, "ids": [f"{number}/{row}" for row in range(len(x))]}
        for number, (x, y) in enumerate(vectors(batches), 1)
    ]
    found[step - 1]["input"][2, 0] = value
    return found


class Rooted(nn.Module):
    """Breaks where a sample begins with 99: forward, by a root of -1, or backward alone, by the slope of one at 0."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (x[:, 0] > 50).any():
            return x
        small = (x * 0).clamp(min=0)
        return x + torch.sqrt(small - 1 if self.at == "forward" else small)


def breaking(at: str) -> nn.Module:
    torch.manual_seed(0)
    # A layer in front, which lets the mark through, and whose gradient the break reaches.
    first = nn.Linear(4, 4, bias=False)
    nn.init.eye_(first.weight)
    model = nn.Sequential()
    for name, part in (("first", first), ("rooted", Rooted(at)), ("top", nn.Linear(4, 3))):
        model.add_module(name, part)
    return model


def test_a_loss_that_is_no_number_names_step_samples_and_the_first_module(tmp_path: Path) -> None:
    run = trainer(breaking("forward"), marked(5, 99.0), tmp_path, keep_best=0, **OFTEN)
    wanted = (
        r"^the loss is nan at step 5 \(epoch 1, batch 5\) on the samples 5/0, 5/1, .*\. First not finite: the output "
        r"of 'rooted' \(Rooted\)\. Lower train.optimizer.lr or look at these samples\. The last checkpoint .* is kept$"
    )
    with pytest.raises(InvalidError, match=wanted):
        run.fit()
    kept = read_checkpoint(list_checkpoints(tmp_path / "checkpoints")[-1])
    assert kept.note.step < 5
    assert all(np.isfinite(tensor).all() for tensor in kept.tensors.values())
    # The step was not made.
    assert all(np.isfinite(tensor).all() for tensor in weights_of(run).values())


def test_a_gradient_that_is_no_number_under_a_finite_loss_names_the_module_it_comes_from(tmp_path: Path) -> None:
    run = trainer(breaking("backward"), marked(4, 99.0), tmp_path, keep_best=0)
    recorder = Recorder()
    run._sinks.append(recorder)
    with pytest.raises(InvalidError, match=r"the gradient is not finite at step 4 .*'rooted' \(Rooted\)"):
        run.fit()
    assert all(math.isfinite(value) for value in recorder.of("train_loss"))


def test_tensorflow_names_the_first_layer_too(tmp_path: Path) -> None:
    keras = importlib.import_module("keras")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="below"),
                              keras.layers.Lambda(lambda x: keras.ops.sqrt(x - 1e6), name="root"),
                              keras.layers.Dense(3, name="above")])  # fmt: skip
    with pytest.raises(InvalidError, match=r"the loss is nan at step 1 .*the output of 'root' \(Lambda\)\."):
        trainer(model, vectors(), tmp_path).fit()


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_a_number_that_is_none_in_the_data_is_named_by_its_sample(engine: str, tmp_path: Path) -> None:
    wanted = r"at step 3 .*First not finite: 'input' of sample 3/2 in the data itself"
    with pytest.raises(InvalidError, match=wanted):
        trainer(LINE, marked(3, math.nan), tmp_path, engine=engine).fit()


@pytest.mark.parametrize("own", [False, True], ids=["described", "own"])
@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_a_label_outside_the_classes_is_named_before_anything_is_learnt_from_it(
    engine: str, own: bool, tmp_path: Path
) -> None:
    data = marked(4, 0.0)
    data[3]["labels"][5] = 3
    model: Any = LINE
    if own:
        keras = importlib.import_module("keras")
        is_torch = engine == "torch"
        model = nn.Linear(4, 3) if is_torch else keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    wanted = r"step 4 \(epoch 1, batch 4\), sample '4/5': targets.labels: got 3 at \[5\], wanted 0 to 2: .* 3 classes"
    run = trainer(model, data, tmp_path, **({} if own else {"engine": engine}))
    with pytest.raises(InvalidError, match=wanted):
        run.fit()


def test_a_wrong_label_of_the_validation_data_is_named_as_such(tmp_path: Path) -> None:
    validation = vectors(2, seed=1)
    validation[1][1][0] = -1
    with pytest.raises(InvalidError, match=r"batch 2 of the validation data: targets.labels: got -1 at \[0\]"):
        trainer(LINE, (vectors(), validation), tmp_path).fit()


GPT2 = {"template": "gpt2", "vocab_size": 20, "max_length": 8, "num_layers": 1, "d_model": 8, "attention_heads": 1,
        "feed_forward": 8}  # fmt: skip
TOKENS = np.arange(16).reshape(2, 8)
X, Y = vectors(1)[0]
MISFITS: dict[str, tuple[Any, Any, str, str]] = {
    "a width": (LINE, (X[:, :3], Y), "cross_entropy", r"inputs.input: got \[8, 3\], wanted \[batch, 4\]"),
    "whole numbers": (LINE, (X.astype(int), Y), "cross_entropy", "inputs.input: got int64 .*wanted float32"),
    "labels with a fraction": (LINE, (X, Y.astype(float)), "cross_entropy", "got float32 numbers, wanted whole ones"),
    "labels of their own axis": (LINE, (X, Y[:, None]), "cross_entropy", r"labels \[8, 1\]; the loss cross_entropy"),
    "text as labels": (LINE, (X, Y.astype(str)), "cross_entropy", "labels: has the type <U21, wanted numbers"),
    "no labels": (LINE, X, "cross_entropy", r"batch 1 of the data: is ndarray; wanted \(inputs, targets\)"),
    "no samples": (LINE, (X[:0], Y[:0]), "cross_entropy", "batch 1 of the data: is empty; leave it out"),
    "fewer labels": (LINE, (X, Y[:5]), "cross_entropy", "different numbers of samples .*input 8, targets.labels 5"),
    "an input by another name": (
        LINE,
        {"inputs": {"inptu": X}, "targets": Y},
        "cross_entropy",
        "inptu: is no input of line; did you mean 'input'",
    ),
    "a token too many": (GPT2, (TOKENS + 10, TOKENS), "language_model", r"inputs.tokens: got 20 at \[1, 2\], wanted 0"),
    "tokens as bytes": (GPT2, (TOKENS.astype(np.uint8), TOKENS), "language_model", "got uint8 .*wanted int64"),
    "numbers for classes": (
        LINE,
        (X, X[:, :1]),
        "regression",
        r"scores \[\?, 3\], labels \[8, 1\]; the loss regression",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_batch_that_does_not_fit_the_model_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    model, batch, loss, wanted = MISFITS[name]
    with pytest.raises(InvalidError, match=wanted) as caught:
        trainer(model, [batch, batch], tmp_path, loss=loss).fit()
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_a_frozen_model_says_how_to_thaw_it(engine: str, tmp_path: Path) -> None:
    keras = importlib.import_module("keras")
    model = nn.Linear(4, 3).requires_grad_(False) if engine == "torch" else keras.Sequential([keras.layers.Dense(3)])
    model.trainable = False
    with pytest.raises(InvalidError, match=r"no (parameter|variable) of the model is trainable; set `?\w+`? on"):
        trainer(model, vectors(), tmp_path).fit()


def test_a_loss_that_no_weight_moves_is_a_frozen_model_too(tmp_path: Path) -> None:
    class Cut(nn.Linear):
        regains = False

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            cut = super().forward(input).detach()
            return cut.requires_grad_() if self.regains else cut

    wanted = "no weight gets a gradient from the loss; is the model frozen, or are gradients switched off"
    for regains in (False, True):
        model = Cut(4, 3)
        model.regains = regains
        with pytest.raises(InvalidError, match=wanted):
            trainer(model, vectors(), tmp_path / str(regains)).fit()
    with torch.no_grad(), pytest.raises(InvalidError, match=wanted):
        trainer(nn.Linear(4, 3), vectors(), tmp_path / "off").fit()


def test_a_rate_that_diverges_is_named_with_a_lower_one(tmp_path: Path) -> None:
    data = [(10 * x, x[:, :1]) for x, _ in vectors(60)]
    settings = {"loss": "regression", "optimizer": {"name": "adamw", "lr": 1.0, "weight_decay": 0.0}}
    model = nn.Linear(4, 1)
    nn.init.zeros_(model.weight)
    run = trainer(model, data, tmp_path, schedule="constant", keep_best=0, epochs=8, **settings)
    # A target that a high rate throws the weights far beyond: huge steps, finite numbers.
    wanted = (
        r"the loss rose from .* to .* \(step \d+\): training diverges\. Lower train.optimizer.lr from 1 to about 0.1"
    )
    with pytest.raises(InvalidError, match=wanted):
        run.fit()


class Exhausted(nn.Linear):
    """Runs out of memory at its fourth step."""

    steps = 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.steps += self.training
        if self.steps == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return super().forward(input)


def test_out_of_memory_says_what_to_lower_and_by_how_much(tmp_path: Path) -> None:
    wanted = (
        r"train.batch_size: the device's memory ran out with 8 samples at once; set one of: train.accumulate: 2 "
        r"\(now 1\), .*; a train.memory_budget, .*; train.batch_size: 4 \(now 8\)"
    )
    with pytest.raises(InvalidError, match=wanted) as caught:
        trainer(Exhausted(4, 3), vectors(6), tmp_path).fit()
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_a_checkpoint_of_another_spec_or_other_data_is_refused(tmp_path: Path) -> None:
    trainer(LINE, vectors(), tmp_path).fit()
    for changes, data in (({"lr": 0.1}, vectors()), ({}, vectors(5))):
        with pytest.raises(InvalidError, match="belongs to another training spec or dataset version; start a new run"):
            trainer(LINE, data, tmp_path, **changes).fit(resume=True)


def damage(folder: Path) -> None:
    file = folder / "state.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-3] + bytes(each ^ 0xFF for each in content[-3:-2]) + b"\0\1")


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = curve_of(trainer(LINE, vectors(), tmp_path / "whole", keep_best=0))
    run = trainer(LINE, vectors(), tmp_path / "pieces", keep_best=0)
    first = curve_of(run, stop_at=2)
    curve_of(run, stop_at=2 + 1, resume=True)
    older, newest = list_checkpoints(tmp_path / "pieces" / "checkpoints")
    damage(newest)
    with caplog.at_level(logging.WARNING):
        rest = curve_of(trainer(LINE, vectors(), tmp_path / "pieces", keep_best=0), resume=True)
    assert f"{newest.name} is damaged; the run goes on from {older.name}" in caplog.text
    assert first.points + rest.points == whole.points
    for folder in list_checkpoints(tmp_path / "pieces" / "checkpoints"):
        damage(folder)
    with pytest.raises(
        InvalidError, match=r"is damaged or incomplete: .*no older one beside it is whole: start the run"
    ):
        trainer(LINE, vectors(), tmp_path / "pieces", keep_best=0).fit(resume=True)


def test_a_disk_that_gets_full_ends_the_run_and_the_checkpoint_before_is_gone_on_from(
    small_disk: Path,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    wide = {"template": "mlp", "hidden": [2048], "dropout": 0.0}
    settings = {"keep_best": 0, "checkpoint_retry_s": 0.2, "optimizer": {"name": "sgd", "momentum": 0.0}, "epochs": 4}
    whole = curve_of(trainer(wide, pictures(4), tmp_path / "whole", **settings))
    run = trainer(wide, pictures(4), small_disk / "run", **settings)
    first = curve_of(run, stop_at=3)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - (1 << 15)))
    with pytest.raises(StorageFullError, match=r"could not be written for .*no room for the checkpoint of step \d+"):
        trainer(wide, pictures(4), small_disk / "run", **settings).fit(resume=True)
    ballast.unlink()
    rest = curve_of(trainer(wide, pictures(4), small_disk / "run", **settings), resume=True)
    assert first.points + rest.points == whole.points


def test_an_interrupted_cell_is_gone_on_with_by_the_same_trainer_or_another(tmp_path: Path) -> None:
    class Interrupts:
        at = 5

        def on_step(self, measured: Any, rate: float) -> None:
            # So that there is a checkpoint by then.
            time.sleep(0.02)
            if measured.step == self.at:
                raise KeyboardInterrupt

    data, settings = pictures(), {**ALL_AT_ONCE, "keep_best": 0, **OFTEN}
    model = {**SMALL_MLP, "dropout": 0.3}
    whole = curve_of(trainer(model, data, tmp_path / "whole", **settings))
    interrupts = Interrupts()
    run = trainer(model, data, tmp_path / "pieces", callbacks=[interrupts], **settings)
    for step in (5, 9):
        interrupts.at = step
        with pytest.raises(KeyboardInterrupt):
            run.fit(resume=True)
    trainer(model, data, tmp_path / "pieces", **settings).fit(resume=True)
    curve = read_curve(tmp_path / "pieces" / "curve.jsonl")
    assert [value for _, value in curve["train_loss"]] == whole.of("train_loss")


def test_a_trainer_that_has_trained_without_a_checkpoint_does_not_begin_again_with_its_weights(tmp_path: Path) -> None:
    class Interrupts:
        def on_step(self, measured: Any, rate: float) -> None:
            raise KeyboardInterrupt

    run = trainer(LINE, vectors(), tmp_path, callbacks=[Interrupts()])
    with pytest.raises(KeyboardInterrupt):
        run.fit()
    with pytest.raises(InvalidError, match="has trained already, and there is no checkpoint to go on from; begin anew"):
        run.fit()


SCRIPT = """
import sys, time
from pathlib import Path
from tests.unit.train_svc.engine.training.test_faults import killed

class Slow:
    def on_step(self, measured, rate):
        time.sleep(0.02)

killed(Path(sys.argv[1]), [Slow()]).fit(resume=True)
"""


def killed(folder: Path, callbacks: list[Any]) -> Trainer:
    settings = {**ALL_AT_ONCE, **OFTEN, "epochs": 30}
    model = {**SMALL_MLP, "dropout": 0.3}
    return trainer(model, (pictures(), pictures(1, seed=1)), folder, callbacks=callbacks, **settings)


def test_a_process_that_is_killed_mid_epoch_leaves_a_run_that_goes_on_to_the_same_curve(tmp_path: Path) -> None:
    whole = curve_of(killed(tmp_path / "whole", []))
    path, root = tmp_path / "pieces" / "curve.jsonl", Path(__file__).parents[5]
    command = [sys.executable, "-c", SCRIPT, str(path.parent)]
    process = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    give_up = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"train_loss") > 20) and time.monotonic() < give_up:
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = list_checkpoints(path.parent / "checkpoints")
    assert made
    assert read_checkpoint(made[-1]).note.step < 180
    killed(path.parent, []).fit(resume=True)
    ours, theirs = read_curve(path), read_curve(tmp_path / "whole" / "curve.jsonl")
    assert ours == theirs
    assert [value for _, value in ours["train_loss"]] == whole.of("train_loss")
