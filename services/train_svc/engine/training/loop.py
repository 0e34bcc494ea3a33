"""The training loop: steps, evaluations, checkpoints, and how a run ends. It knows no engine."""

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.common.errors import InvalidError, ModelwrightError
from services.train_svc.engine.batch import Batch, Data
from services.train_svc.engine.chance import seed_of
from services.train_svc.engine.memory.exhaustion import is_out_of_memory
from services.train_svc.engine.ports import Point, Ports
from services.train_svc.engine.schedule import learning_rate
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.callbacks import Callbacks
from services.train_svc.engine.training.faults import Watch, model_failed
from services.train_svc.engine.training.judging import Judge
from services.train_svc.engine.training.keeping import Keeper
from services.train_svc.engine.training.learner import Learner, Measured, Moment
from services.train_svc.engine.training.pace import Pace
from services.train_svc.engine.training.stopping import PREFIX, EarlyStopping

LOG = logging.getLogger("modelwright.train")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a run ended."""

    step: int
    """Steps made, over all attempts."""
    total_steps: int = 0
    """Steps of the whole run."""
    stopped: bool = False
    """True: asked to leave before the end; its checkpoint is saved."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """`validation_...` of the weights that the model holds; empty: they were not evaluated."""
    best_step: int = 0
    """The step whose weights the model holds, where the best are kept; 0: those of the last step."""


class Loop:
    """Fits a learner to data; goes on from a checkpoint as if it had not stopped.

    Every random draw is a function of the seed and the step, so a checkpoint is tensors and a step.

    Args:
        learner: the engine's half.
        data: what it learns from and is evaluated on.
        spec: how.
        folder: where checkpoints are written.
        ports: whom it talks to.
        judge: evaluates.
        callbacks: told of everything.
    """

    def __init__(
        self,
        *,
        learner: Learner,
        data: Data,
        spec: TrainSpec,
        folder: Path,
        ports: Ports,
        judge: Judge,
        callbacks: Callbacks,
    ) -> None:
        self.learner, self.data, self.spec = learner, data, spec
        self.step = 0
        self.steps_per_epoch = data.train.steps_per_epoch
        self.total_steps = self.steps_per_epoch * spec.epochs
        self.watched = f"{PREFIX}{judge.primary}"
        self.keeper = Keeper(folder, spec, data.train, ports.checkpoints, self.watched)
        self._ports, self._judge, self._callbacks = ports, judge, callbacks
        self._watch = Watch(learner, data.train, spec)
        self._stopping = EarlyStopping(spec.early_stopping, self.watched)
        self._moments: deque[Moment] = deque()
        self._metrics: dict[str, float] = {}
        self._evaluated: int | None = None

    def fit(self) -> Fit:
        """Train to the end, or until asked to stop; in both cases the last state is saved.

        Raises:
            InvalidError: the loss is not finite; step, samples and the first bad module are named.
            UnavailableError: the checkpoint storage stayed away too long.
            StaleLeaseError: another worker has the job.
        """
        self._pace = Pace(
            self._ports.progress, epochs=self.spec.epochs, steps_per_epoch=self.steps_per_epoch, began_at=self.step
        )
        with self.keeper, self.learner.running():
            try:
                self._train()
                self._take(self.learner.settle())
            except InvalidError:
                # What was good before training diverged must not be lost with the process.
                self.keeper.flush()
                raise
            if self.keeper.newest_step != self.step:
                self._save()
            self.keeper.flush()
        over = self._stopping.is_over or self.step >= self.total_steps
        return (
            self._finished()
            if over
            else Fit(step=self.step, total_steps=self.total_steps, stopped=True, metrics=self._metrics)
        )

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            InvalidError: it is damaged, or belongs to another spec or other data.
        """
        note = self.keeper.restore(folder, self.learner)
        self.step = note.step
        LOG.info("goes on at step %d of %d", self.step, self.total_steps)
        self._metrics, self._evaluated = dict(note.metrics), note.evaluated_step
        self._stopping.restore(note.stopping)

    def _train(self) -> None:
        while self.step < self.total_steps and not self._stopping.is_over and not self._ports.stop():
            self._one_step()
            if self.step % self.steps_per_epoch == 0:
                self._end_epoch()
            elif self.keeper.is_due():
                self._save()

    def _one_step(self) -> None:
        moment = Moment(step=self.step, rate=self._rate(), seed=seed_of(self.spec.seed, "model", self.step))
        self._moments.append(moment)
        measures = self._learnt(self.data.train.at(self.step), moment)
        self.step += 1
        self._take(measures)

    def _learnt(self, batch: Batch, moment: Moment) -> Sequence[Measured]:
        try:
            return self.learner.learn(batch, moment)
        except ModelwrightError:
            raise
        except Exception as error:
            if not self.spec.model.own or is_out_of_memory(error):
                raise
            raise model_failed(error, batch, f"step {self.step + 1}") from error

    def _rate(self) -> float:
        spec = self.spec
        return learning_rate(spec.schedule, spec.optimizer.lr, self.step, self.steps_per_epoch, spec.epochs)

    def _take(self, measures: Sequence[Measured]) -> None:
        for measured in measures:
            moment = self._moments.popleft()
            self._watch.look(measured, moment)
            self._log(measured.step, _values(measured, moment))
            self._callbacks.on_step(measured, moment.rate)
            self._pace.tell(measured.step, measured.loss)

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        self._ports.metrics.log([Point(key=key, step=step, value=value) for key, value in values.items()])

    def _end_epoch(self) -> None:
        self._take(self.learner.settle())
        epoch = self.step // self.steps_per_epoch
        if self.data.validation is not None:
            found = self._judge.evaluate(self.learner, self.data.validation).metrics
            self._metrics = {f"{PREFIX}{name}": value for name, value in found.items()}
            self._evaluated = self.step
            self._log(self.step, {name: value for name, value in self._metrics.items() if math.isfinite(value)})
            self._callbacks.on_evaluation(self.step, self._metrics)
            self._stopping.update(epoch, self._metrics)
        self._log(self.step, {"epoch": epoch})
        line = ", ".join(f"{name} {value:.4f}" for name, value in self._metrics.items()) or "done"
        LOG.info("epoch %d/%d: %s", epoch, self.spec.epochs, line)
        if self.keeper.is_due() or self.keeper.is_best(self._metrics):
            self._save()

    def _save(self) -> None:
        # The measures of all steps before it come first: a run that goes on from it repeats none of them.
        self._take(self.learner.settle())
        self.keeper.save(
            self.learner,
            step=self.step,
            metrics=self._metrics,
            evaluated=self._evaluated,
            stopping=self._stopping.state,
        )
        self._callbacks.on_checkpoint(self.step, self.keeper.folder)

    def _finished(self) -> Fit:
        best = self.keeper.best()
        if best is not None and best.step != self.step:
            self.keeper.restore(self.keeper.folder_of(best), self.learner)
            self._metrics = dict(best.metrics)
        self.learner.adopt_average()
        return Fit(
            step=self.step,
            total_steps=self.total_steps,
            metrics=self._metrics,
            best_step=best.step if best else 0,
        )


def _values(measured: Measured, moment: Moment) -> dict[str, float]:
    values = {"train_loss": measured.loss, "learning_rate": moment.rate, "gradient_norm": measured.gradient_norm}
    if measured.is_scaled:
        values["loss_scale"] = measured.loss_scale
    return {name: value for name, value in values.items() if math.isfinite(value)}
