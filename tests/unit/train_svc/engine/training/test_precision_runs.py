"""Runs in fewer bits on the CPU: what is scaled, left out, forced, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from services.common.errors import InvalidError
from services.train_svc.engine.precision import Operator, Policy, write_policy
from services.train_svc.engine.spec import Precision
from services.train_svc.engine.training.trainer import Trainer
from tests.unit.train_svc.engine.training.trainers import (
    SMALL_MLP,
    Recorder,
    curve_of,
    in_pieces,
    pictures,
    trainer,
    vectors,
    weights_of,
)


class Weights:
    """Keeps the weights after each step, and whether it was made."""

    def __init__(self) -> None:
        self.run: Trainer | None = None
        self.seen: list[dict[str, Any]] = []
        self.applied: list[bool] = []

    def on_step(self, measured: Any, rate: float) -> None:
        assert self.run is not None
        self.seen.append(weights_of(self.run))
        self.applied.append(measured.applied)


def test_a_step_that_overflows_fp16_leaves_the_weights_and_halves_the_scale(tmp_path: Path) -> None:
    kept = Weights()
    precision = Precision("fp16", loss_scale=2.0**24, growth_interval=3)
    run = kept.run = trainer(SMALL_MLP, pictures(8), tmp_path, precision=precision, callbacks=[kept], keep_best=0)
    before = weights_of(run)
    recorder = curve_of(run)
    scales = recorder.of("loss_scale")
    assert not kept.applied[0]
    assert any(kept.applied)
    good, scale = 0, 2.0**24
    for weights, applied, now in zip(kept.seen, kept.applied, scales, strict=True):
        same = all(np.array_equal(tensor, before[name]) for name, tensor in weights.items())
        assert same is not applied
        # Halved by each overflow, doubled after three steps without one.
        good = good + 1 if applied else 0
        scale = scale if applied else scale / 2
        if good == 3:
            good, scale = 0, scale * 2
        assert now == scale
        before = weights


def test_a_run_in_fp16_goes_on_exactly_with_its_scale(tmp_path: Path) -> None:
    settings = {"precision": {"name": "fp16", "loss_scale": 2.0**22, "growth_interval": 3}, "keep_best": 0}
    whole = curve_of(trainer(SMALL_MLP, pictures(8), tmp_path / "whole", **settings))

    def make(_attempt: int) -> Trainer:
        return trainer(SMALL_MLP, pictures(8), tmp_path / "pieces", **settings)

    pieces, _ = in_pieces(make, (2, 9))
    assert pieces.points == whole.points
    assert len(set(whole.of("loss_scale"))) > 1


@pytest.mark.parametrize("name", ["fp16", "bf16"])
def test_half_precision_follows_float32_and_keeps_its_weights_in_it(name: str, tmp_path: Path) -> None:
    settings = {"epochs": 4, "keep_best": 0, "optimizer": {"lr": 0.01}}
    full, half = Recorder(), Recorder()
    for precision, recorder in (("fp32", full), (name, half)):
        run = trainer(SMALL_MLP, pictures(), tmp_path / precision, precision=precision, sinks=[recorder], **settings)
        run.fit()
    assert run.learner.precision == name
    assert all(tensor.dtype == np.float32 for tensor in weights_of(run).values())
    assert half.of("train_loss") == pytest.approx(full.of("train_loss"), rel=0.02)
    assert half.of("train_loss") != full.of("train_loss")


def test_endless_overflow_says_where_it_comes_from_and_what_else_to_train_in(tmp_path: Path) -> None:
    class Large(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) * 1e6

    model = nn.Sequential()
    model.add_module("large", Large(4, 8))
    model.add_module("top", nn.Linear(8, 3))
    wanted = r"fp16 overflowed in 30 steps one after another, up to step 30 .*first not finite: .* Train in bf16, or"
    with pytest.raises(InvalidError, match=wanted):
        trainer(model, vectors(40), tmp_path, precision="fp16").fit()


def test_a_policy_file_decides_the_format_of_each_operator(tmp_path: Path) -> None:
    formats: dict[str, torch.dtype] = {}

    def note(name: str) -> Any:
        return lambda _module, _given, made: formats.setdefault(name, made.dtype) and None

    operators = (Operator(name="hidden1.linear", precision="bf16"), Operator(name="classifier", precision="fp32"))
    path = write_policy(Policy(base="bf16", operators=operators), tmp_path / "policy.yaml")
    run = trainer(SMALL_MLP, pictures(), tmp_path, precision=Precision("bf16", policy=str(path)), keep_best=0)
    for name in ("hidden1.linear", "classifier"):
        run.model.get_submodule(name).register_forward_hook(note(name))
    losses = curve_of(run).of("train_loss")
    assert formats == {"hidden1.linear": torch.bfloat16, "classifier": torch.float32}
    assert all(np.isfinite(losses))


def test_a_policy_file_that_is_not_there_says_what_writes_one(tmp_path: Path) -> None:
    precision = Precision("bf16", policy=str(tmp_path / "none.yaml"))
    with pytest.raises(InvalidError, match=r"cannot read .*none.yaml.*`modelwright train sensitivity` writes such"):
        trainer(SMALL_MLP, pictures(1), tmp_path / "run", precision=precision).fit()


def test_fp8_is_refused_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"fp8 needs an NVIDIA card .*, and this is a CPU; use bf16"):
        trainer(SMALL_MLP, pictures(1), tmp_path, precision="fp8").fit()


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"memory_budget": "1GiB"}], ids=str)
def test_tensorflow_says_what_is_done_on_torch_alone(change: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"train\.(precision|memory_budget): .*torch"):
        trainer(SMALL_MLP, pictures(1), tmp_path, engine="tensorflow", **change).fit()


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_a_policy_that_was_measured_in_another_format_is_refused(tmp_path: Path, name: Any) -> None:
    path = write_policy(Policy(base="bf16", operators=()), tmp_path / "policy.yaml")
    with pytest.raises(InvalidError, match=f"was measured in bf16, and the run computes in {name}; set precision.name"):
        trainer(SMALL_MLP, pictures(), tmp_path, precision=Precision(name, policy=str(path))).fit()
