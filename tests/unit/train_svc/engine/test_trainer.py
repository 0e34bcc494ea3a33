"""The training loop on real digits, small enough to run in a second or two."""

import itertools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from services.common.errors import InvalidError, StaleLeaseError, UnavailableError
from services.train_svc.engine.building import build
from services.train_svc.engine.chance import seed_of
from services.train_svc.engine.checkpoint import State, list_checkpoints, read_checkpoint
from services.train_svc.engine.on_torch.tensors import named_tensors
from services.train_svc.engine.pictures import MemorySplit, Normalization
from services.train_svc.engine.ports import Point
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.trainer import Data, Ports, Trainer

Split = Callable[[int, int], MemorySplit]
SPEC = {"model": {"template": "resnet_small", "width": 8, "dropout": 0.2}, "epochs": 2, "batch_size": 32}


class Recorder:
    """Keeps every point, and counts steps."""

    def __init__(self) -> None:
        self.points: list[tuple[str, int, float]] = []

    def log(self, points: Sequence[Point]) -> None:
        self.points += [(point.key, point.step, point.value) for point in points]

    @property
    def steps(self) -> int:
        return max((step for _, step, _ in self.points), default=0)


class Away:
    """A sink whose storage is away for the first tries."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or UnavailableError("the bucket does not answer")
        self.saved: list[int] = []
        self.tried = threading.Event()

    def save(self, folder: Path, step: int) -> None:
        self.tried.set()
        if self.failures > 0:
            self.failures -= 1
            raise self.error
        assert read_checkpoint(folder).step == step
        self.saved.append(step)


def make(make_split: Split, folder: Path, ports: Ports, **changes: object) -> Trainer:
    spec = TrainSpec.from_mapping({**SPEC, **changes})
    torch.manual_seed(seed_of(spec.seed, "weights"))
    train = make_split(0, 330)
    data = Data(
        train=train,
        validation=lambda: make_split(330, 400),
        normalization=Normalization.of(train),
        digest="sha256:" + "0" * 64,
    )
    return Trainer(model=build(spec.model.describe((1, 8, 8), 10)), spec=spec, data=data, folder=folder, ports=ports)


def stop_after(recorder: Recorder, steps: int) -> Callable[[], bool]:
    return lambda: recorder.steps >= steps


@pytest.mark.parametrize("stops", [(3,), (10,), (14,), (1, 2, 13)], ids=str)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_run_stopped_and_resumed_equals_one_that_was_not_bit_for_bit(
    make_split: Split, tmp_path: Path, optimizer: str, stops: tuple[int, ...]
) -> None:
    changes = {"optimizer": {"name": optimizer, "lr": 0.01}, "label_smoothing": 0.1}
    whole = Recorder()
    straight = make(make_split, tmp_path / "whole", Ports(metrics=whole), **changes)
    straight.fit()

    pieces, state = Recorder(), None
    for stop in (*stops, 10**9):
        # Whatever the process did before must not matter.
        torch.manual_seed(stop)
        trainer = make(make_split, tmp_path / "pieces", Ports(metrics=pieces, stop=stop_after(pieces, stop)), **changes)
        if state is not None:
            trainer.restore(state)
        trainer.fit()
        state = read_checkpoint(list_checkpoints(tmp_path / "pieces")[-1])
    assert pieces.points == whole.points
    wanted = named_tensors(straight.model)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in named_tensors(trainer.model).items())


def test_a_run_killed_after_its_checkpoint_repeats_the_same_points(make_split: Split, tmp_path: Path) -> None:
    whole = Recorder()
    saved: list[State] = []

    class Keep:
        def save(self, folder: Path, step: int) -> None:
            saved.append(read_checkpoint(folder))

    make(make_split, tmp_path, Ports(metrics=whole, checkpoints=Keep()), checkpoint_every_s=0.01).fit()
    middle = next(state for state in saved if 0 < state.step < 20)
    again = Recorder()
    trainer = make(make_split, tmp_path, Ports(metrics=again))
    trainer.restore(middle)
    trainer.fit()
    assert again.points == [point for point in whole.points if point[1] > middle.step]


def test_every_step_and_epoch_has_its_metrics_once(make_split: Split, tmp_path: Path) -> None:
    recorder = Recorder()
    fit = make(make_split, tmp_path, Ports(metrics=recorder)).fit()
    assert (fit.step, fit.stopped) == (20, False)
    keys = [(key, step) for key, step, _ in recorder.points]
    assert len(keys) == len(set(keys))
    assert [step for key, step in keys if key == "train_loss"] == list(range(1, 21))
    assert [step for key, step in keys if key == "validation_accuracy"] == [10, 20]
    assert [value for key, _, value in recorder.points if key == "epoch"] == [1, 2]


def test_another_seed_is_another_run(make_split: Split, tmp_path: Path) -> None:
    first, second = Recorder(), Recorder()
    make(make_split, tmp_path / "a", Ports(metrics=first)).fit()
    make(make_split, tmp_path / "b", Ports(metrics=second), seed=1).fit()
    assert first.points != second.points


def test_progress_ends_at_one_and_the_estimate_at_zero(make_split: Split, tmp_path: Path) -> None:
    told: list[tuple[float, float | None, str]] = []

    class Told:
        def report(self, *, progress: float, eta_s: float | None, message: str) -> None:
            told.append((progress, eta_s, message))

    make(make_split, tmp_path, Ports(progress=Told())).fit()
    shares = [share for share, _, _ in told]
    assert shares == sorted(shares)
    assert told[0][0] == 1 / 20
    assert told[-1][:2] == (1.0, 0.0)
    assert told[-1][2].startswith("epoch 2/2, step 20/20, loss ")


def test_a_loss_that_is_no_number_stops_with_step_and_samples(make_split: Split, tmp_path: Path) -> None:
    recorder, sink = Recorder(), Away(0)
    trainer = make(make_split, tmp_path, Ports(metrics=recorder, checkpoints=sink), checkpoint_every_s=1e-9)
    names = trainer.data.train.ids

    def poison(*_: object) -> None:
        if trainer.step == 12:
            with torch.no_grad():
                next(trainer.model.parameters()).fill_(float("nan"))

    trainer.model.register_forward_pre_hook(poison)
    with pytest.raises(InvalidError, match=r"the loss is nan at step 13 \(epoch 2, batch 3\)") as caught:
        trainer.fit()
    for index in trainer.order.at(12)[:8]:
        assert names[index] in caught.value.message
    last = read_checkpoint(list_checkpoints(tmp_path)[-1])
    assert (last.step, sink.saved[-1]) == (12, 12)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in last.model.values())


def test_a_storage_that_comes_back_costs_nothing(make_split: Split, tmp_path: Path) -> None:
    sink, recorder = Away(2), Recorder()
    fit = make(make_split, tmp_path, Ports(checkpoints=sink, metrics=recorder), checkpoint_every_s=1e-9).fit()
    assert not fit.stopped
    assert recorder.steps == 20
    # What waited was replaced by newer ones; the last is always saved.
    assert sink.saved[-1] == 20


def test_a_storage_that_stays_away_ends_the_run_with_a_clear_error(make_split: Split, tmp_path: Path) -> None:
    trainer = make(make_split, tmp_path, Ports(checkpoints=Away(10**9)), checkpoint_retry_s=0.2)
    with pytest.raises(UnavailableError, match=r"could not be stored for .*: the bucket does not answer.*resume"):
        trainer.fit()


def test_a_lost_lease_ends_the_run_at_once(make_split: Split, tmp_path: Path) -> None:
    sink, recorder = Away(10**9, StaleLeaseError("another worker has the job")), Recorder()
    waits = itertools.count()

    def never() -> bool:
        # The second question comes after the first checkpoint; by the third the queue must have tried.
        return next(waits) > 1 and not sink.tried.wait(10)

    trainer = make(
        make_split, tmp_path, Ports(checkpoints=sink, metrics=recorder, stop=never), checkpoint_every_s=1e-9, epochs=100
    )
    with pytest.raises(StaleLeaseError):
        trainer.fit()
    assert recorder.steps < 1000


@pytest.mark.parametrize("change", [{"seed": 5}, {"batch_size": 16}, {"optimizer": {"lr": 0.5}}], ids=str)
def test_a_checkpoint_of_another_spec_is_refused(make_split: Split, tmp_path: Path, change: dict[str, object]) -> None:
    make(make_split, tmp_path, Ports(), epochs=2).fit()
    state = read_checkpoint(list_checkpoints(tmp_path)[-1])
    with pytest.raises(InvalidError, match="another training spec or dataset version"):
        make(make_split, tmp_path, Ports(), **change).restore(state)


def test_fewer_samples_than_a_batch_make_one_step_an_epoch(make_split: Split, tmp_path: Path) -> None:
    recorder = Recorder()
    trainer = make(make_split, tmp_path, Ports(metrics=recorder), batch_size=1000)
    trainer.fit()
    assert (trainer.steps_per_epoch, recorder.steps) == (1, 2)


def test_one_sample_is_too_few(make_split: Split, tmp_path: Path) -> None:
    spec, one = TrainSpec(), make_split(0, 1)
    data = Data(train=one, validation=lambda: None, normalization=Normalization.of(one))
    with pytest.raises(InvalidError, match="has 1 samples, wanted 2 or more"):
        Trainer(model=torch.nn.Linear(1, 1), spec=spec, data=data, folder=tmp_path, ports=Ports())


def test_training_leaves_the_callers_randomness_alone(make_split: Split, tmp_path: Path) -> None:
    trainer = make(make_split, tmp_path, Ports(), epochs=2, batch_size=64)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    trainer.fit()
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(trainer.order.at(3), trainer.order.at(3))


def test_a_gate_in_the_model_sees_every_step_of_a_run(make_split: Split, tmp_path: Path) -> None:
    body = ["flatten", {"linear": {"name": "before", "out_features": 16}}, {"gradient_reset_gate": {"name": "gate"}},
            "relu", {"linear": {"name": "after", "out_features": 10}}]  # fmt: skip
    gated = {"name": "gated", "input_shape": [1, 8, 8], "body": body}
    trainer = make(make_split, tmp_path, Ports(), model=gated)
    trainer.fit()
    gate = trainer.model.get_submodule("gate")
    assert gate.get_buffer("count") + gate.get_buffer("resets") == trainer.total_steps
    assert gate.get_buffer("mean") > 0
