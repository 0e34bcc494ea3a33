from pathlib import Path
from typing import Any

import pytest

from services.common.errors import InvalidError, StaleLeaseError
from services.train_svc.engine.training.callbacks import CallbackError, Callbacks, OnEvaluation, OnStep, RunFacts
from services.train_svc.engine.training.learner import Measured

MEASURED = Measured(step=1, loss=0.5, gradient_norm=1.0)
RUN = RunFacts(total_steps=10, steps_per_epoch=5, batch_size=2, parameters=3)


class Everything:
    def __init__(self, told: list[Any]) -> None:
        self.told = told

    def on_fit_begin(self, run: RunFacts) -> None:
        self.told.append(("begin", run.total_steps))

    def on_step(self, measured: Measured, rate: float) -> None:
        self.told.append(("step", measured.loss, rate))

    def on_evaluation(self, step: int, metrics: Any) -> None:
        self.told.append(("evaluation", step, metrics))

    def on_checkpoint(self, step: int, folder: Path) -> None:
        self.told.append(("checkpoint", step, folder))

    def on_fit_end(self, result: Any) -> None:
        self.told.append(("end", result))

    def close(self) -> None:
        self.told.append("closed")


class Steps:
    def __init__(self, told: list[Any]) -> None:
        self.told = told

    def on_step(self, measured: Measured, rate: float) -> None:
        self.told.append(("second", measured.step))


def test_each_callback_is_told_in_order_of_what_it_has_a_method_for() -> None:
    told: list[Any] = []
    callbacks = Callbacks([Everything(told), Steps(told)])
    callbacks.on_fit_begin(RUN)
    callbacks.on_step(MEASURED, 0.1)
    callbacks.on_evaluation(1, {"accuracy": 0.5})
    callbacks.on_checkpoint(1, Path("x"))
    callbacks.on_fit_end("done")
    callbacks.close()
    assert told == [
        ("begin", 10), ("step", 0.5, 0.1), ("second", 1), ("evaluation", 1, {"accuracy": 0.5}),
        ("checkpoint", 1, Path("x")), ("end", "done"), "closed",
    ]  # fmt: skip


def test_an_object_of_ones_own_needs_no_more_than_the_method() -> None:
    assert isinstance(Steps([]), OnStep)
    assert not isinstance(Steps([]), OnEvaluation)


def test_no_callbacks_are_fine() -> None:
    Callbacks().on_step(MEASURED, 0.1)


class Misspelt:
    def on_evaluate(self, step: int, metrics: Any) -> None: ...


def test_an_object_with_none_of_the_methods_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidError, match="on_fit_begin, on_step, on_evaluation, on_checkpoint, on_fit_end") as caught:
        Callbacks([Steps([]), Misspelt()])
    assert "Misspelt has none of" in caught.value.message
    assert "on_evaluate: did you mean 'on_evaluation'?" in caught.value.message
    assert caught.value.violations[0].field == "callbacks[1]"


def test_what_is_no_callback_at_all_is_refused() -> None:
    with pytest.raises(InvalidError, match="function has none of the methods"):
        Callbacks([lambda: None])


def test_a_class_in_place_of_an_object_is_refused() -> None:
    with pytest.raises(InvalidError, match=r"give an object of it, Steps\(\)"):
        Callbacks([Steps])


class Failing:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_step(self, measured: Measured, rate: float) -> None:
        raise self.error


def test_a_failure_is_not_swallowed_and_names_the_callback() -> None:
    error = ValueError("no such key")
    with pytest.raises(CallbackError, match=r"callback Failing\.on_step failed: ValueError: no such key") as caught:
        Callbacks([Failing(error)]).on_step(MEASURED, 0.1)
    assert caught.value.__cause__ is error


def test_a_failure_that_says_what_to_do_keeps_its_class() -> None:
    with pytest.raises(StaleLeaseError, match=r"callback Failing\.on_step: the job is another's") as caught:
        Callbacks([Failing(StaleLeaseError("the job is another's"))]).on_step(MEASURED, 0.1)
    assert caught.value.message == str(caught.value)


def test_an_interrupt_passes_unchanged() -> None:
    with pytest.raises(KeyboardInterrupt):
        Callbacks([Failing(KeyboardInterrupt())]).on_step(MEASURED, 0.1)


def test_an_epoch_that_is_cut_short_counts_as_one() -> None:
    assert RunFacts(total_steps=11, steps_per_epoch=5, batch_size=2, parameters=3).epochs == 3
