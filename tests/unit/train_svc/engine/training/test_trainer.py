"""What `Trainer` does around the steps: early stopping, best weights, averages, callbacks, sinks, folders."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from services.common.errors import InvalidError
from services.train_svc.engine.checkpointing import list_notes
from services.train_svc.engine.sinks import TensorBoardSink, read_curve
from services.train_svc.engine.spec import OptimizerSpec
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

STILL: dict[str, Any] = {"augment": {"shift_pixels": 0, "rotate_degrees": 0, "scale": 0}}


def splits() -> Any:
    return pictures(4), pictures(2, 32, seed=1)


class Told:
    """A callback that keeps what it is told, and the weights after each step."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.weights: list[dict[str, npt.NDArray[Any]]] = []
        self.evaluations: list[tuple[int, Mapping[str, float]]] = []
        self.run: Trainer | None = None

    def on_fit_begin(self, run: Any) -> None:
        self.calls.append(("begin", run.total_steps, run.batch_size))

    def on_step(self, measured: Any, rate: float) -> None:
        self.calls.append(("step", measured.step, rate))
        if self.run is not None:
            self.weights.append(weights_of(self.run))

    def on_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        self.calls.append(("evaluation", step))
        self.evaluations.append((step, dict(metrics)))

    def on_checkpoint(self, step: int, folder: Path) -> None:
        self.calls.append(("checkpoint", step))

    def on_fit_end(self, result: Any) -> None:
        self.calls.append(("end", result.step))

    def close(self) -> None:
        self.calls.append("closed")


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_a_run_that_no_longer_improves_ends_early_and_so_does_a_resumed_one(engine: str, tmp_path: Path) -> None:
    # A rate of nothing changes nothing: the first epoch is the best one.
    settings = {"lr": 1e-12, "epochs": 9, "early_stopping": {"patience_epochs": 2}, "engine": engine}
    fit = trainer(SMALL_MLP, splits(), tmp_path / "whole", **settings).fit()
    assert (fit.step, fit.total_steps, fit.stopped) == (12, 36, False)

    def make(_attempt: int) -> Trainer:
        return trainer(SMALL_MLP, splits(), tmp_path / "pieces", **settings)

    pieces, last = in_pieces(make, (6, 9))
    assert pieces.steps == 12
    # Over is over.
    assert last.fit(resume=True).step == 12


def test_the_model_holds_the_best_weights_afterwards(tmp_path: Path) -> None:
    told = Told()
    # So high a rate that it gets worse now and then.
    settings = {"optimizer": {"name": "sgd", "lr": 1.0}, "schedule": "constant", "epochs": 8, **STILL}
    run = trainer(SMALL_MLP, splits(), tmp_path, callbacks=[told], **settings)
    fit = run.fit()
    accuracies = {step: metrics["validation_accuracy"] for step, metrics in told.evaluations}
    best = max(accuracies.values())
    # Of those that are equal the last.
    assert fit.best_step == max(step for step, value in accuracies.items() if value == best)
    assert fit.metrics["validation_accuracy"] == best
    assert accuracies[32] < best
    assert run.evaluate("validation") == {
        name.removeprefix("validation_"): value for name, value in fit.metrics.items()
    }
    assert fit.best_step in [note.step for note in list_notes(tmp_path / "checkpoints")]


def test_without_best_checkpoints_the_last_weights_are_left_and_evaluated(tmp_path: Path) -> None:
    run = trainer(SMALL_MLP, splits(), tmp_path, keep_best=0)
    recorder = curve_of(run)
    found = run.evaluate("validation")
    for name, value in found.items():
        assert recorder.of(f"validation_{name}")[-1] == value, name


@pytest.mark.parametrize("engine", ["torch", "tensorflow"])
def test_the_average_of_the_weights_is_evaluated_and_left_in_the_model(engine: str, tmp_path: Path) -> None:
    told, decay = Told(), 0.3
    run = trainer(SMALL_MLP, splits(), tmp_path, callbacks=[told], ema_decay=decay, keep_best=0, engine=engine, **STILL)
    average = weights_of(run)
    told.run = run
    recorder = curve_of(run)
    for step, now in enumerate(told.weights):
        # The first steps, whose weights are far from the last, count for less.
        past = min(decay, (1 + step) / (10 + step))
        average = {name: past * each + (1 - past) * now[name] for name, each in average.items()}
    for name, tensor in weights_of(run).items():
        np.testing.assert_allclose(tensor, average[name], atol=1e-6, err_msg=name)
    assert not np.allclose(average["classifier.weight"], told.weights[-1]["classifier.weight"], atol=1e-4)
    assert run.evaluate("validation")["loss"] == pytest.approx(recorder.of("validation_loss")[-1], rel=1e-6)


def test_callbacks_are_told_everything_in_order(tmp_path: Path) -> None:
    told = Told()
    trainer(SMALL_MLP, splits(), tmp_path, callbacks=[told], epochs=1, keep_best=0).fit()
    kinds = [call if isinstance(call, str) else call[0] for call in told.calls]
    assert kinds == ["begin", "step", "step", "step", "step", "evaluation", "checkpoint", "end", "closed"]
    assert told.calls[0] == ("begin", 4, 16)
    assert [call[1] for call in told.calls[1:5]] == [1, 2, 3, 4]


def test_callbacks_are_closed_though_the_run_fails(tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(InvalidError):
        trainer(SMALL_MLP, [(pictures(1)[0][0], np.full(16, 10))], tmp_path, callbacks=[told]).fit()
    assert told.calls[-1] == "closed"
    assert ("end", 2) not in told.calls


def test_sinks_and_the_file_in_the_folder_get_the_same_curve(tmp_path: Path) -> None:
    recorder = Recorder()
    run = trainer(SMALL_MLP, splits(), tmp_path, sinks=[recorder, TensorBoardSink(tmp_path / "events")])
    run.fit()
    curve = read_curve(tmp_path / "curve.jsonl")
    for key in ("train_loss", "validation_loss", "learning_rate"):
        assert [value for _, value in curve[key]] == recorder.of(key)
    reader = import_module("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(tmp_path / "events"))
    found.Reload()
    assert [event.step for event in found.Scalars("train_loss")] == list(range(1, 9))
    assert [event.value for event in found.Scalars("train_loss")] == pytest.approx(recorder.of("train_loss"))


def test_a_folder_that_holds_a_run_is_not_mixed_with_another(tmp_path: Path) -> None:
    trainer(SMALL_MLP, splits(), tmp_path).fit()
    before = read_curve(tmp_path / "curve.jsonl")
    wanted = r"holds a run already, up to step-0+8; go on with it by fit\(resume=True\), or give another folder"
    with pytest.raises(InvalidError, match=wanted):
        trainer(SMALL_MLP, splits(), tmp_path, lr=0.1).fit()
    assert read_curve(tmp_path / "curve.jsonl") == before


def test_a_run_that_never_came_to_a_checkpoint_leaves_no_points_to_the_next(tmp_path: Path) -> None:
    data = vectors()
    data[2] = (data[2][0] * np.nan, data[2][1])
    settings = {"loss": "cross_entropy", "keep_best": 0}
    body = [{"linear": {"out_features": 3}}]
    model = {"name": "line", "input_shape": [4], "body": body}
    with pytest.raises(InvalidError, match="step 3"):
        trainer(model, data, tmp_path, **settings).fit()
    recorder = curve_of(trainer(model, vectors(seed=1), tmp_path, **settings))
    assert [value for _, value in read_curve(tmp_path / "curve.jsonl")["train_loss"]] == recorder.of("train_loss")


def test_a_trainer_that_was_stopped_goes_on_in_the_same_process(tmp_path: Path) -> None:
    whole = curve_of(trainer(SMALL_MLP, splits(), tmp_path / "whole"))
    run = trainer(SMALL_MLP, splits(), tmp_path / "pieces")
    first = curve_of(run, stop_at=3)
    rest = curve_of(run, resume=True)
    assert first.points + rest.points == whole.points


def test_a_run_goes_on_from_the_folder_of_another_run_or_from_one_of_its_checkpoints(tmp_path: Path) -> None:
    whole = curve_of(trainer(SMALL_MLP, splits(), tmp_path / "whole"))
    curve_of(trainer(SMALL_MLP, splits(), tmp_path / "a"), stop_at=3)
    for name, given in (("b", tmp_path / "a"), ("c", str(tmp_path / "a" / "checkpoints" / "step-000000000003"))):
        run, recorder = trainer(SMALL_MLP, splits(), tmp_path / name), Recorder()
        run._sinks.append(recorder)
        assert run.fit(resume=given).step == 8
        assert recorder.points == [point for point in whole.points if point[1] > 3]


def test_evaluate_takes_batches_as_training_does(tmp_path: Path) -> None:
    run = trainer(SMALL_MLP, splits(), tmp_path)
    run.fit()
    assert run.evaluate(splits()[1]) == run.evaluate("validation")


CARELESS: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": None}, "model: got None; give a description, a template's name"),
    "a model misspelt": ({"model": "mpl"}, "there is no template 'mpl'; did you mean 'mlp'"),
    "an unknown setting": ({"optimzer": "sgd"}, "unknown key 'optimzer'; did you mean 'optimizer'"),
    "no epochs": ({"epochs": 0}, "train.epochs: got 0, wanted at least 1"),
    "text as a rate": ({"lr": "fast"}, "train.optimizer.lr: got 'fast', wanted a number"),
    "no folder there": ({"data": "/nowhere/at/all"}, "there is no folder '/nowhere/at/all'"),
    "two arrays": ({"data": vectors()[0]}, "the data is a pair of arrays; give an iterable of batches"),
    "a generator": ({"data": (each for each in vectors())}, "can be gone through once only"),
    "one callback": ({"callbacks": Told()}, "callbacks: got a Told, wanted a list"),
    "a sink that takes nothing": ({"sinks": [object()]}, "sinks[0]: object has no method log(points)"),
    "one sink": ({"sinks": Recorder()}, "sinks: got a Recorder, wanted a list"),
    "a display": ({"display": "fancy"}, "display: got 'fancy', wanted one of auto, live, lines, silent"),
    "nothing to stop by": (
        {"early_stopping": {"patience_epochs": 1}},
        "train.early_stopping: there is no validation data to go by",
    ),
}


@pytest.mark.parametrize("name", CARELESS)
def test_what_cannot_be_meant_is_one_sentence_where_it_is_given(name: str, tmp_path: Path) -> None:
    changes, wanted = CARELESS[name]
    given = {"model": SMALL_MLP, "data": pictures(1), **changes}
    with pytest.raises(InvalidError) as caught:
        trainer(given.pop("model"), given.pop("data"), tmp_path, **given)
    assert wanted in caught.value.message


def test_a_rate_beside_an_optimizer_is_that_optimizers_however_it_is_written(tmp_path: Path) -> None:
    wanted = OptimizerSpec(name="sgd", lr=0.2, momentum=0.5)
    for given in ({"name": "sgd", "momentum": 0.5}, OptimizerSpec(name="sgd", momentum=0.5)):
        assert trainer(SMALL_MLP, pictures(1), tmp_path, optimizer=given, lr=0.2).spec.optimizer == wanted


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidError, match=r"folder: .*/file cannot be written to: File exists; give another"):
        trainer(SMALL_MLP, pictures(1), tmp_path / "file").fit()


def test_resuming_from_where_nothing_is_says_so_and_in_the_own_folder_it_begins(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=r"resume: there is no checkpoint in .*nowhere; give the folder of one"):
        trainer(SMALL_MLP, pictures(1), tmp_path / "a").fit(resume=str(tmp_path / "nowhere"))
    assert trainer(SMALL_MLP, pictures(1), tmp_path / "b").fit(resume=True).step == 2
