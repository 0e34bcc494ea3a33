"""One trial, from its parameters to its value."""

import gc
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import optuna
from optuna.trial import TrialState

from services.common.errors import ModelwrightError
from services.train_svc.engine.engines import load_part
from services.train_svc.engine.memory.exhaustion import is_out_of_memory
from services.train_svc.engine.ports import MetricSink, Ports
from services.train_svc.engine.reading import fault
from services.train_svc.engine.search.claims import ERROR
from services.train_svc.engine.search.sampling import draw
from services.train_svc.engine.search.spec import Aim
from services.train_svc.engine.search.studies import Opened
from services.train_svc.engine.search.tools import Tools, TrialPlan, TrialStoppedError
from services.train_svc.engine.sinks import read_curve
from services.train_svc.engine.training.jobfile import MODEL, changed
from services.train_svc.engine.training.run import CURVE
from services.train_svc.engine.training.stopping import value_of
from services.train_svc.engine.training.trainer import Trainer

METRICS, EPOCHS = "metrics", "epochs"
RECORD = "trial.json"


class MetricMissingError(Exception):
    """What is searched by is not measured, so that no trial can have a value."""


class Report:
    """A callback that tells the study of each epoch, and hears whether the trial shall end.

    Args:
        trial: whose.
        aim: what is told.
        progressed: called for each new epoch.
    """

    def __init__(self, trial: optuna.Trial, aim: Aim, progressed: Callable[[], None]) -> None:
        self._trial, self._aim, self._progressed = trial, aim, progressed
        self._per_epoch = self._epochs = 0
        self.epoch = 0
        """The last that was told of."""
        self.is_pruned = False
        """Whether the trial fell behind."""
        self.missing = ""
        """Why no epoch can be told of; empty: nothing is missing."""

    @property
    def is_over(self) -> bool:
        """Whether the trial shall end."""
        return self.is_pruned or bool(self.missing)

    def begin(self, trainer: Trainer) -> None:
        """Tell again what an earlier attempt at the trial measured."""
        self._per_epoch, self._epochs = trainer.material.data.train.steps_per_epoch, trainer.spec.epochs
        path = trainer.folder / CURVE
        for step, value in read_curve(path).get(self._aim.metric, ()) if path.exists() else ():
            self._tell(step // self._per_epoch, value)

    def on_evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell of an epoch."""
        epoch = step // self._per_epoch
        if epoch <= self.epoch:
            return
        try:
            value = measured(metrics, self._aim)
        except MetricMissingError as error:
            # Raised here it would be taken for a fault of the callback.
            self.missing = str(error)
            return
        self._tell(epoch, value)
        self._progressed()

    def _tell(self, epoch: int, value: float) -> None:
        if self.is_pruned:
            return
        self.epoch = epoch
        self._trial.report(value, epoch)
        # Asked after the last epoch too, since others are compared with it; but then there is nothing left to save.
        self.is_pruned = self._trial.should_prune() and epoch < self._epochs


class Runner:
    """Runs trials of a study.

    Args:
        opened: the study.
        data: what `Trainer` takes.
        tools: from outside.
        stop: asked before every step; the trial then waits again.
    """

    def __init__(self, opened: Opened, data: Any, tools: Tools, stop: Callable[[], bool]) -> None:  # noqa: ANN401
        self._opened, self._data, self._tools, self._stop = opened, data, tools, stop

    def run(self, trial_id: int) -> None:
        """Run a trial that this process took, or go on with it, and tell the study how it ended.

        One that fails is told as failed, with its message.

        Raises:
            InvalidError: what is searched by is not measured.
        """
        opened = self._opened
        trial = optuna.Trial(opened.study(), trial_id)
        report = Report(trial, opened.aim, lambda: opened.claims.progressed(trial_id))
        try:
            end = self._ended(trial, report)
        except TrialStoppedError:
            opened.claims.give_back(trial_id)
            return
        except MetricMissingError as missing:
            opened.claims.give_back(trial_id)
            raise fault("search.metric", str(missing)) from missing
        _tell(opened, trial, end, report.epoch)
        # The model's memory is the next one's; what a failure's frames held goes with them.
        gc.collect()
        load_part(opened.job.train.engine, "forgetting").forget()

    def _ended(self, trial: optuna.Trial, report: Report) -> "End":
        try:
            metrics = dict(self._trained(trial, report))
            value = measured(metrics, self._opened.aim)
        except (TrialStoppedError, MetricMissingError):
            raise
        except optuna.TrialPruned:
            return End(state=TrialState.PRUNED)
        except Exception as error:
            # Whatever one trial dies of, others may not.
            return End(state=TrialState.FAIL, error=_words(error))
        if not math.isfinite(value):
            return End(state=TrialState.FAIL, metrics=metrics, error=f"{self._opened.aim.metric} is {value}")
        return End(state=TrialState.COMPLETE, value=value, metrics=metrics)

    def _trained(self, trial: optuna.Trial, report: Report) -> Mapping[str, float]:
        opened, number = self._opened, trial.number
        params = {name: draw(trial, name, parameter) for name, parameter in opened.search.parameters.items()}
        settings = settings_of(opened, params)
        plan = TrialPlan(number=number, params=params, settings=settings, folder=opened.folder_of(number))
        with self._tools.track(plan) as sinks:
            trainer = self._trainer(plan, report, sinks)
            if trainer.material.data.validation is None:
                raise MetricMissingError("the data has no validation split, which trials are compared on; add one")
            report.begin(trainer)
            fit = trainer.fit(resume=True, ports=Ports(stop=lambda: report.is_over or self._stop()))
            if report.missing:
                raise MetricMissingError(report.missing)
            if report.is_pruned:
                raise optuna.TrialPruned
            if fit.stopped:
                raise TrialStoppedError
        return fit.metrics

    def _trainer(self, plan: TrialPlan, report: Report, sinks: Sequence[MetricSink]) -> Trainer:
        settings = dict(plan.settings)
        model = settings.pop(MODEL, self._opened.job.train.model)
        display = self._tools.display
        return Trainer(
            model, self._data, folder=plan.folder, callbacks=[report], sinks=sinks, display=display, **settings
        )


@dataclass(frozen=True, kw_only=True)
class End:
    """How a trial ended."""

    state: TrialState
    """Complete, pruned or failed."""
    value: float | None = None
    """Of what is searched by, where it is complete."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """All that was measured of the weights it ended with."""
    error: str = ""
    """Why it failed."""


def measured(metrics: Mapping[str, float], aim: Aim) -> float:
    """Return what is searched by.

    Raises:
        MetricMissingError: it is not among the metrics.
    """
    try:
        return value_of(aim.metric, metrics)
    except ModelwrightError as error:
        raise MetricMissingError(error.message) from error


def settings_of(opened: Opened, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of `train` with a trial's parameters."""
    return reduce(lambda settings, each: changed(settings, *each), params.items(), opened.job.settings)


def _tell(opened: Opened, trial: optuna.Trial, end: End, epochs: int) -> None:
    notes = {METRICS: dict(end.metrics), EPOCHS: epochs, ERROR: end.error}
    for key, note in notes.items():
        trial.set_user_attr(key, note)
    folder = opened.folder_of(trial.number)
    folder.mkdir(parents=True, exist_ok=True)
    head = {"number": trial.number, "state": end.state.name.lower(), "value": end.value, "params": trial.params}
    (folder / RECORD).write_text(json.dumps({**head, **notes}, indent=2, ensure_ascii=False) + "\n", "utf-8")
    opened.study().tell(trial.number, end.value, state=end.state)


def _words(error: Exception) -> str:
    if isinstance(error, ModelwrightError):
        return error.message
    memory = "out of memory: " if is_out_of_memory(error) else ""
    return f"{memory}{type(error).__name__}: {error}"
