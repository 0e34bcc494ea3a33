"""A run stops on one engine and goes on with the other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from services.common.errors import InvalidError
from services.train_svc.engine.building import build
from services.train_svc.engine.on_torch.optimizer import set_rate
from services.train_svc.engine.runstate import Position, build_ema, build_optimizer, load_state, save_state
from services.train_svc.engine.schedule import learning_rate
from services.train_svc.engine.spec import OptimizerSpec, ScheduleSpec
from services.train_svc.engine.templates import describe
from services.train_svc.engine.weights import save_weights
from tests.unit.train_svc.engine.parity import close

DESCRIPTION = describe("resnet_small", width=4)
SCHEDULE = ScheduleSpec(name="cosine", warmup_epochs=0.0)
STEPS = 6
DECAY = 0.5
PICTURES = np.random.default_rng(0).standard_normal((STEPS, 8, 1, 8, 8)).astype(np.float32)


class Run:
    """Some steps on one engine."""

    def __init__(self, engine: str, spec: OptimizerSpec) -> None:
        self.engine, self.spec = engine, spec
        self.model = build(DESCRIPTION, engine=engine)  # type: ignore[arg-type]  # one of the two
        self.optimizer = build_optimizer(self.model, spec)
        self.ema = build_ema(self.model, DECAY)

    def go(self, first: int, last: int) -> None:
        for step in range(first, last):
            rate = learning_rate(SCHEDULE, self.spec.lr, step, STEPS, 1)
            self._torch(step, rate) if self.engine == "torch" else self._tensorflow(step, rate)
            self.ema.update(self.model)

    def _torch(self, step: int, rate: float) -> None:
        self.model.train()
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad()
        self.model(torch.from_numpy(PICTURES[step])).square().mean().backward()
        self.optimizer.step()

    def _tensorflow(self, step: int, rate: float) -> None:
        self.optimizer.rate.assign(rate)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(self.model(PICTURES[step], training=True)))
        self.optimizer.apply(tape.gradient(loss, self.optimizer.trained))

    def save(self, path: Path, step: int) -> None:
        save_state(path, self.model, self.optimizer, Position(step=step, schedule=SCHEDULE), ema=self.ema)

    def load(self, path: Path) -> Position:
        return load_state(path, self.model, self.optimizer, ema=self.ema)


def tensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return dict(load_file(path))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize(("first", "second"), [("torch", "tensorflow"), ("tensorflow", "torch")])
def test_three_steps_here_and_three_there_are_six_on_one(name: Any, first: str, second: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = OptimizerSpec(name=name, lr=3e-3)
    whole = Run(first, spec)
    whole.save(tmp_path / "begin", 0)
    half, rest = Run(first, spec), Run(second, spec)
    half.load(tmp_path / "begin")
    half.go(0, 3)
    half.save(tmp_path / "half", 3)
    assert rest.load(tmp_path / "half") == Position(step=3, schedule=SCHEDULE)
    rest.go(3, STEPS)
    rest.save(tmp_path / "rest", STEPS)
    whole.go(0, STEPS)
    whole.save(tmp_path / "whole", STEPS)
    found, wanted = tensors(tmp_path / "rest"), tensors(tmp_path / "whole")
    assert found.keys() == wanted.keys()
    assert any(key.startswith("ema/") for key in found)
    for key, array in found.items():
        # Adam's division by the gradient's size lets rounding show where a gradient is nearly zero.
        close(array, wanted[key], key, 2e-4 if name == "adamw" else 1e-5)


def test_a_file_of_weights_alone_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    run = Run("torch", OptimizerSpec())
    save_weights(build(DESCRIPTION), tmp_path / "w")
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    with pytest.raises(InvalidError, match="weights alone"):
        run.load(tmp_path / "w")
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.model.state_dict().items())


def test_a_state_without_the_average_that_is_wanted_is_refused(tmp_path: Path) -> None:
    run = Run("torch", OptimizerSpec())
    save_state(tmp_path / "s", run.model, run.optimizer, Position(step=0))
    with pytest.raises(InvalidError, match="ema do not fit"):
        run.load(tmp_path / "s")
