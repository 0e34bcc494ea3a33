"""The training loop for picture classification."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from services.common.errors import InvalidError
from services.common.records import SampleOrder
from services.train_svc.engine.augment import augment
from services.train_svc.engine.chance import seed_of
from services.train_svc.engine.checkpoint import State, write_checkpoint
from services.train_svc.engine.checkpoint_queue import CheckpointQueue, RetryPolicy
from services.train_svc.engine.evaluation import evaluate
from services.train_svc.engine.on_torch.gates import settle_gates
from services.train_svc.engine.on_torch.optimizer import build_optimizer, fill_optimizer, optimizer_tensors, set_rate
from services.train_svc.engine.on_torch.tensors import fill, named_tensors
from services.train_svc.engine.pictures import Normalization, Split
from services.train_svc.engine.ports import (
    CheckpointSink,
    MetricSink,
    NoMetrics,
    NoProgress,
    NoSink,
    Point,
    ProgressSink,
    StopSignal,
)
from services.train_svc.engine.schedule import learning_rate
from services.train_svc.engine.spec import TrainSpec

LOG = logging.getLogger("modelwright.train")

REPORT_EVERY_S = 0.25
NAMED_SAMPLES = 8
FEWEST = 2


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Whom a run talks to."""

    metrics: MetricSink = field(default_factory=NoMetrics)
    """Gets every step's metrics."""
    progress: ProgressSink = field(default_factory=NoProgress)
    """Told a few times a second."""
    checkpoints: CheckpointSink = field(default_factory=NoSink)
    """Keeps checkpoints."""
    stop: StopSignal = lambda: False
    """Asked before every step."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a run learns from."""

    train: Split
    """Learnt from."""
    validation: Callable[[], Split | None]
    """Opens the split that is evaluated after each epoch, once it is needed; it may give None."""
    normalization: Normalization
    """Of the train split."""
    digest: str = ""
    """Of the dataset version."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a run ended."""

    step: int
    """Steps made, over all attempts."""
    stopped: bool
    """True: asked to leave before the end; its checkpoint is saved."""


class Trainer:
    """Fits a model to data as a spec says; goes on from a checkpoint bit for bit.

    Every random draw is a function of the seed and the step, so a checkpoint is weights, moments and a step.
    """

    def __init__(self, *, model: nn.Module, spec: TrainSpec, data: Data, folder: Path, ports: Ports) -> None:
        if len(data.train) < FEWEST:
            raise InvalidError(f"the train split has {len(data.train)} samples, wanted {FEWEST} or more", field="data")
        self.model = model
        self.spec = spec
        self.data = data
        self.step = 0
        self.order = SampleOrder(
            digest=data.digest,
            count=len(data.train),
            batch_size=min(spec.batch_size, len(data.train)),
            seed=spec.seed,
            drop_last=True,
        )
        self.steps_per_epoch = self.order.steps_per_epoch
        self.total_steps = self.steps_per_epoch * spec.epochs
        self._folder = folder
        self._ports = ports
        self._optimizer = build_optimizer(model, spec.optimizer)
        self._device = next(model.parameters()).device
        self._reported = self._saved = self._began = time.monotonic()
        self._began_step = 0

    def restore(self, state: State) -> None:
        """Go on from a checkpoint.

        Raises:
            InvalidError: it belongs to another spec or other data.
        """
        same = (self.spec.digest, self.data.digest, self.steps_per_epoch)
        if (state.spec_digest, state.dataset_digest, state.steps_per_epoch) != same:
            message = "the checkpoint belongs to another training spec or dataset version; start a new run for this one"
            raise InvalidError(message, field="checkpoint")
        fill(self.model, state.model, f"the checkpoint of step {state.step}")
        fill_optimizer(self.model, self._optimizer, state.optimizer)
        self.step = self._began_step = state.step

    def fit(self) -> Fit:
        """Train to the end, or until asked to stop; in both cases the last state is saved.

        Raises:
            InvalidError: the loss is not finite; step and samples are named.
            UnavailableError: the checkpoint storage stayed away too long.
            StaleLeaseError: another worker has the job.
        """
        policy = RetryPolicy(give_up_s=self.spec.checkpoint_retry_s)
        with CheckpointQueue(self._ports.checkpoints, policy) as queue, torch.random.fork_rng(devices=[]):
            self.model.train()
            try:
                self._train(queue)
            except InvalidError:
                # What was good before training diverged must not be lost with the process.
                queue.flush()
                raise
            self._checkpoint(queue)
            queue.flush()
        return Fit(step=self.step, stopped=self.step < self.total_steps)

    def _train(self, queue: CheckpointQueue) -> None:
        while self.step < self.total_steps and not self._ports.stop():
            self._one_step()
            queue.check()
            if time.monotonic() - self._saved >= self.spec.checkpoint_every_s:
                self._checkpoint(queue)

    def _one_step(self) -> None:
        indices = self.order.at(self.step)
        pictures, labels = self._batch(indices)
        rate = learning_rate(
            self.spec.schedule, self.spec.optimizer.lr, self.step, self.steps_per_epoch, self.spec.epochs
        )
        set_rate(self._optimizer, rate)
        torch.manual_seed(seed_of(self.spec.seed, "model", self.step))
        scores = self.model(pictures)
        loss = functional.cross_entropy(scores, labels, label_smoothing=self.spec.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(value, indices)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        settle_gates(self.model, self._optimizer)
        self._optimizer.step()
        self.step += 1
        accuracy = (scores.argmax(1) == labels).float().mean().item()
        self._log(train_loss=value, train_accuracy=accuracy, learning_rate=rate)
        if self.step % self.steps_per_epoch == 0:
            self._validate(value)
        self._report(value)

    def _batch(self, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        pictures = torch.from_numpy(self.data.train.pictures(indices)).to(self._device).float() / 255
        moved = augment(pictures, self.spec.augment, seed_of(self.spec.seed, "augment", self.step))
        labels = torch.from_numpy(self.data.train.labels[indices]).to(self._device)
        return self.data.normalization.scale(moved), labels

    def _validate(self, loss: float) -> None:
        epoch, line = self.step // self.steps_per_epoch, f"training loss {loss:.4f}"
        split = self.data.validation()
        if split is not None and len(split):
            result = evaluate(self.model, split, self.data.normalization)
            self._log(validation_loss=result.loss, validation_accuracy=result.accuracy)
            line += f", validation loss {result.loss:.4f}, accuracy {result.accuracy:.4f}"
        self._log(epoch=epoch)
        LOG.info("epoch %d/%d: %s", epoch, self.spec.epochs, line)

    def _log(self, **values: float) -> None:
        self._ports.metrics.log([Point(key=key, step=self.step, value=value) for key, value in values.items()])

    def _report(self, loss: float) -> None:
        now = time.monotonic()
        if self.step < self.total_steps and now - self._reported < REPORT_EVERY_S and self.step > self._began_step + 1:
            return
        self._reported = now
        each_s = (now - self._began) / (self.step - self._began_step)
        epoch = math.ceil(self.step / self.steps_per_epoch)
        self._ports.progress.report(
            progress=self.step / self.total_steps,
            eta_s=each_s * (self.total_steps - self.step),
            message=f"epoch {epoch}/{self.spec.epochs}, step {self.step}/{self.total_steps}, loss {loss:.4f}",
        )

    def _checkpoint(self, queue: CheckpointQueue) -> None:
        state = State(
            model=named_tensors(self.model),
            optimizer=optimizer_tensors(self.model, self._optimizer),
            step=self.step,
            steps_per_epoch=self.steps_per_epoch,
            spec_digest=self.spec.digest,
            dataset_digest=self.data.digest,
        )
        queue.put(write_checkpoint(self._folder, state), self.step)
        self._saved = time.monotonic()

    def _diverged(self, value: float, indices: np.ndarray) -> InvalidError:
        names = [self.data.train.ids[index] for index in indices[:NAMED_SAMPLES]]
        epoch, position = divmod(self.step, self.steps_per_epoch)
        more = f" and {len(indices) - NAMED_SAMPLES} more" if len(indices) > NAMED_SAMPLES else ""
        return InvalidError(
            f"the loss is {value} at step {self.step + 1} (epoch {epoch + 1}, batch {position + 1}) on the samples "
            f"{', '.join(names)}{more}; lower train.optimizer.lr or look at these samples. "
            "The last checkpoint before it is kept",
            field="train.optimizer.lr",
        )
