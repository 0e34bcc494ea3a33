"""The training loop on real digits, small enough to run in a second or two."""

import itertools
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.common.errors import InvalidError, StaleLeaseError, UnavailableError
from services.train_svc.engine.checkpointing import list_checkpoints, read_checkpoint
from services.train_svc.engine.on_torch.tensors import named_tensors
from services.train_svc.engine.pictures import MemorySplit
from services.train_svc.engine.ports import Point, Ports
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.material import of_pictures
from services.train_svc.engine.training.run import Run

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
        assert read_checkpoint(folder).note.step == step
        self.saved.append(step)


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Two splits, as `Pictures`."""

    splits: dict[str, MemorySplit]
    digest: str = "sha256:" + "0" * 64
    labels: tuple[str, ...] = tuple("0123456789")
    shape: tuple[int, int, int] = (1, 8, 8)

    def has(self, split: str) -> bool:
        return split in self.splits

    def open(self, split: str, shape: tuple[int, ...]) -> MemorySplit:
        return self.splits[split]


def make(make_split: Split, folder: Path, train: tuple[int, int] = (0, 330), **changes: Any) -> Run:
    spec = TrainSpec.from_mapping({**SPEC, **changes})
    digits = Digits(splits={"train": make_split(*train), "validation": make_split(330, 400)})
    return Run(spec, of_pictures(digits, spec), folder)


def newest(run: Run) -> Path:
    return list_checkpoints(run.folder / "checkpoints")[-1]


def stop_after(recorder: Recorder, steps: int) -> Callable[[], bool]:
    return lambda: recorder.steps >= steps


@pytest.mark.parametrize("stops", [(3,), (10,), (14,), (1, 2, 13)], ids=str)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_run_stopped_and_resumed_equals_one_that_was_not_bit_for_bit(
    make_split: Split, tmp_path: Path, optimizer: str, stops: tuple[int, ...]
) -> None:
    changes: dict[str, Any] = {"optimizer": {"name": optimizer, "lr": 0.01}, "label_smoothing": 0.1}
    whole = Recorder()
    straight = make(make_split, tmp_path / "whole", **changes)
    straight.fit(ports=Ports(metrics=whole))

    pieces = Recorder()
    for stop in (*stops, 10**9):
        # Whatever the process did before must not matter.
        torch.manual_seed(stop)
        again = make(make_split, tmp_path / "pieces", **changes)
        again.fit(resume=True, ports=Ports(metrics=pieces, stop=stop_after(pieces, stop)))
    assert pieces.points == whole.points
    wanted = named_tensors(straight.model)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in named_tensors(again.model).items())


def test_a_run_killed_after_its_checkpoint_repeats_the_same_points(make_split: Split, tmp_path: Path) -> None:
    whole = Recorder()
    saved: list[tuple[int, Path]] = []

    class Keep:
        def save(self, folder: Path, step: int) -> None:
            saved.append((step, Path(shutil.copytree(folder, tmp_path / "kept" / folder.name))))

    run = make(make_split, tmp_path / "whole", checkpoint_every_s=0.01)
    run.fit(ports=Ports(metrics=whole, checkpoints=Keep()))
    step, middle = next(each for each in saved if 0 < each[0] < 20)
    again = Recorder()
    make(make_split, tmp_path / "again").fit(resume=middle, ports=Ports(metrics=again))
    assert again.points == [point for point in whole.points if point[1] > step]


def test_every_step_and_epoch_has_its_metrics_once(make_split: Split, tmp_path: Path) -> None:
    recorder = Recorder()
    fit = make(make_split, tmp_path).fit(ports=Ports(metrics=recorder))
    assert (fit.step, fit.stopped) == (20, False)
    keys = [(key, step) for key, step, _ in recorder.points]
    assert len(keys) == len(set(keys))
    assert [step for key, step in keys if key == "train_loss"] == list(range(1, 21))
    assert [step for key, step in keys if key == "validation_accuracy"] == [10, 20]
    assert [value for key, _, value in recorder.points if key == "epoch"] == [1, 2]


def test_another_seed_is_another_run(make_split: Split, tmp_path: Path) -> None:
    first, second = Recorder(), Recorder()
    make(make_split, tmp_path / "a").fit(ports=Ports(metrics=first))
    make(make_split, tmp_path / "b", seed=1).fit(ports=Ports(metrics=second))
    assert first.points != second.points


def test_progress_ends_at_one_and_the_estimate_at_zero(make_split: Split, tmp_path: Path) -> None:
    told: list[tuple[float, float | None, str]] = []

    class Told:
        def report(self, *, progress: float, eta_s: float | None, message: str) -> None:
            told.append((progress, eta_s, message))

    make(make_split, tmp_path).fit(ports=Ports(progress=Told()))
    shares = [share for share, _, _ in told]
    assert shares == sorted(shares)
    assert told[0][0] == 1 / 20
    assert told[-1][:2] == (1.0, 0.0)
    assert told[-1][2].startswith("epoch 2/2, step 20/20, loss ")


def test_a_loss_that_is_no_number_stops_with_step_samples_and_module(make_split: Split, tmp_path: Path) -> None:
    recorder, sink = Recorder(), Away(0)
    run = make(make_split, tmp_path, checkpoint_every_s=1e-9)
    broken = run.model.get_submodule("classifier")

    def poison(_module: object, _given: object, made: torch.Tensor) -> torch.Tensor:
        return made * float("nan") if recorder.steps == 12 else made

    broken.register_forward_hook(poison)
    with pytest.raises(InvalidError, match=r"the loss is nan at step 13 \(epoch 2, batch 3\)") as caught:
        run.fit(ports=Ports(metrics=recorder, checkpoints=sink))
    for name in run.material.data.train.at(12).ids[:8]:
        assert name in caught.value.message
    assert "First not finite: the output of 'classifier' (Linear)" in caught.value.message
    last = read_checkpoint(newest(run))
    # One that waits to be written holds back the next.
    assert 10 <= last.note.step == sink.saved[-1] <= 12
    assert all(np.isfinite(tensor).all() for tensor in last.tensors.values())


def test_a_storage_that_comes_back_costs_nothing(make_split: Split, tmp_path: Path) -> None:
    sink, recorder = Away(2), Recorder()
    fit = make(make_split, tmp_path, checkpoint_every_s=1e-9).fit(ports=Ports(checkpoints=sink, metrics=recorder))
    assert not fit.stopped
    assert recorder.steps == 20
    # What waited was replaced by newer ones; the last is always saved.
    assert sink.saved[-1] == 20


def test_a_storage_that_stays_away_ends_the_run_with_a_clear_error(make_split: Split, tmp_path: Path) -> None:
    run = make(make_split, tmp_path, checkpoint_retry_s=0.2)
    with pytest.raises(UnavailableError, match=r"could not be stored for .*: the bucket does not answer.*resume"):
        run.fit(ports=Ports(checkpoints=Away(10**9)))


def test_a_lost_lease_ends_the_run_at_once(make_split: Split, tmp_path: Path) -> None:
    sink, recorder = Away(10**9, StaleLeaseError("another worker has the job")), Recorder()
    waits = itertools.count()

    def never() -> bool:
        # The second question comes after the first checkpoint; by the third the queue must have tried.
        return next(waits) > 1 and not sink.tried.wait(10)

    run = make(make_split, tmp_path, checkpoint_every_s=1e-9, epochs=100)
    with pytest.raises(StaleLeaseError):
        run.fit(ports=Ports(checkpoints=sink, metrics=recorder, stop=never))
    assert recorder.steps < 1000


@pytest.mark.parametrize("change", [{"seed": 5}, {"batch_size": 16}, {"optimizer": {"lr": 0.5}}], ids=str)
def test_a_checkpoint_of_another_spec_is_refused(make_split: Split, tmp_path: Path, change: dict[str, Any]) -> None:
    make(make_split, tmp_path, epochs=2).fit()
    with pytest.raises(InvalidError, match="another training spec or dataset version"):
        make(make_split, tmp_path, **change).fit(resume=True)


def test_fewer_samples_than_a_batch_make_one_step_an_epoch(make_split: Split, tmp_path: Path) -> None:
    recorder = Recorder()
    run = make(make_split, tmp_path, batch_size=1000)
    run.fit(ports=Ports(metrics=recorder))
    assert (run.material.data.train.steps_per_epoch, recorder.steps) == (1, 2)


def test_one_sample_is_too_few(make_split: Split, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="there are 1 samples to train on, wanted 2 or more"):
        make(make_split, tmp_path, train=(0, 1))


def test_training_leaves_the_callers_randomness_alone(make_split: Split, tmp_path: Path) -> None:
    run = make(make_split, tmp_path, epochs=2, batch_size=64)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    run.fit()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_gate_in_the_model_sees_every_step_of_a_run(make_split: Split, tmp_path: Path) -> None:
    body = ["flatten", {"linear": {"name": "before", "out_features": 16}}, {"gradient_reset_gate": {"name": "gate"}},
            "relu", {"linear": {"name": "after", "out_features": 10}}]  # fmt: skip
    gated = {"name": "gated", "input_shape": [1, 8, 8], "body": body}
    run = make(make_split, tmp_path, model=gated)
    fit = run.fit()
    gate = run.model.get_submodule("gate")
    assert gate.get_buffer("count") + gate.get_buffer("resets") == fit.total_steps
    assert gate.get_buffer("mean") > 0
