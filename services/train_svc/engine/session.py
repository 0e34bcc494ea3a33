"""A training run from a dataset version to a package: decode, fit, evaluate, export."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from services.common.errors import InvalidError
from services.common.packages import Package
from services.common.preprocess import Preprocess
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.building import build
from services.train_svc.engine.chance import seed_of
from services.train_svc.engine.checkpoint import State
from services.train_svc.engine.dataset import TRAIN, VALIDATION, PictureDataset
from services.train_svc.engine.evaluation import Evaluation, evaluate
from services.train_svc.engine.packaging import Trained, decode_step, pack
from services.train_svc.engine.pictures import Normalization, Split
from services.train_svc.engine.ports import MetricSink, Point, ProgressSink
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.threads import choose_threads
from services.train_svc.engine.trainer import Data, Ports, Trainer

LOG = logging.getLogger("modelwright.train")

TRAINING_SHARE = 0.95
"""Share of the progress that is training; evaluation and export take the rest."""
FINISHING_S = 3.0
"""Evaluation and export of a small model, for the estimate of the time left."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a run shall do, and where it may write."""

    spec: TrainSpec
    """How to train."""
    run_id: str
    """Written into the card."""
    folder: Path
    """Scratch: checkpoints and the package are written here."""
    submitted_at: float
    """When it was asked for, seconds since 1970; the metric `first_step_s` counts from it."""
    resume_from: State | None = None
    """The checkpoint to go on from."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a finished run leaves."""

    package: Package
    """The model package, written."""
    evaluation: Evaluation
    """On the test split."""
    split: str
    """The split it was measured on."""


class Stopped(Exception):
    """The run was asked to leave; its last checkpoint is saved."""


def carry_out(assignment: Assignment, dataset: PictureDataset, ports: Ports) -> Outcome:
    """Train as the assignment says and pack the result.

    Raises:
        InvalidError: spec and dataset do not fit, a sample cannot be read, or training diverged.
        UnavailableError: the checkpoint storage stayed away.
        StaleLeaseError: another worker has the job.
        Stopped: it was asked to leave.
    """
    spec = assignment.spec
    labels, tested = dataset.labels, dataset.tested
    description = spec.model.describe(dataset.shape, len(labels))
    if dataset.is_resized:
        _, height, width = description.input_shape
        LOG.info("the pictures differ in size and are read at %d x %d; "
                 "train.model.image_height and image_width change that", height, width)  # fmt: skip
    opened = _opener(dataset, description)
    trainer = _trainer(assignment, dataset, description, opened, _told(ports, assignment.submitted_at))
    if assignment.resume_from is not None:
        trainer.restore(assignment.resume_from)
        LOG.info("goes on at step %d of %d", trainer.step, trainer.total_steps)
    if trainer.fit().stopped:
        raise Stopped(f"stopped at step {trainer.step} of {trainer.total_steps}; its checkpoint is saved")
    ports.progress.report(progress=TRAINING_SHARE, eta_s=FINISHING_S, message=f"evaluating on the {tested} split")
    evaluation = evaluate(trainer.model, opened(tested), trainer.data.normalization)
    _log_evaluation(ports.metrics, evaluation, trainer.step)
    interval = f"95% interval {evaluation.ci_low:.4f} to {evaluation.ci_high:.4f}"
    LOG.info(
        "accuracy on the %s split: %.4f (%s, %d samples)", tested, evaluation.accuracy, interval, evaluation.samples
    )
    ports.progress.report(progress=0.97, eta_s=FINISHING_S / 2, message="exporting to ONNX")
    trained = Trained(
        name=spec.model_name,
        description=description,
        model=trainer.model,
        preprocess=Preprocess([decode_step(description), trainer.data.normalization.step()]),
        labels=labels,
        evaluation=evaluation,
        split=tested,
        run_id=assignment.run_id,
        dataset_digest=dataset.records.digest,
        recipe=spec.to_data(),
    )
    package = pack(trained, opened(tested), assignment.folder / "package")
    return Outcome(package=package, evaluation=evaluation, split=tested)


def _opener(dataset: PictureDataset, description: Description) -> Callable[[str], Split]:
    decode = Preprocess([decode_step(description)]).decode

    # Only the train split is decoded before the first step; the others when they are first looked at.
    @cache
    def opened(split: str) -> Split:
        return dataset.open(split, description.input_shape, decode)

    return opened


def _trainer(
    assignment: Assignment,
    dataset: PictureDataset,
    description: Description,
    opened: Callable[[str], Split],
    ports: Ports,
) -> Trainer:
    spec = assignment.spec
    torch.set_num_threads(spec.threads or choose_threads(description, spec.batch_size))
    device = "cuda" if spec.device != "cpu" and torch.cuda.is_available() else "cpu"
    if spec.device == "cuda" and device == "cpu":
        raise InvalidError("train.device is 'cuda', but this worker sees no GPU; use 'auto'", field="train.device")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(spec.seed, "weights"))
        model = build(description).to(device)
    train = opened(TRAIN)
    data = Data(
        train=train,
        validation=lambda: opened(VALIDATION) if dataset.has(VALIDATION) else None,
        normalization=Normalization.of(train),
        digest=dataset.records.digest,
    )
    return Trainer(model=model, spec=spec, data=data, folder=assignment.folder / "checkpoints", ports=ports)


def _told(ports: Ports, submitted_at: float) -> Ports:
    metrics = _FirstStep(ports.metrics, submitted_at)
    return replace(ports, metrics=metrics, progress=_TrainingShare(ports.progress))


class _FirstStep:
    """Adds `first_step_s`, the seconds from submission to the end of the first step."""

    def __init__(self, sink: MetricSink, submitted_at: float) -> None:
        self._sink = sink
        self._submitted_at = submitted_at

    def log(self, points: Sequence[Point]) -> None:
        """Take the points."""
        first = [Point(key="first_step_s", step=1, value=time.time() - self._submitted_at)]
        begins = any(point.step == 1 and point.key == "train_loss" for point in points)
        self._sink.log([*points, *first] if begins and self._submitted_at else points)


class _TrainingShare:
    """Keeps room for what follows training."""

    def __init__(self, sink: ProgressSink) -> None:
        self._sink = sink

    def report(self, *, progress: float, eta_s: float | None, message: str) -> None:
        """Take a report of training alone."""
        left = None if eta_s is None else eta_s + FINISHING_S
        self._sink.report(progress=progress * TRAINING_SHARE, eta_s=left, message=message)


def _log_evaluation(sink: MetricSink, evaluation: Evaluation, step: int) -> None:
    values = {
        "accuracy": evaluation.accuracy,
        "accuracy_ci_low": evaluation.ci_low,
        "accuracy_ci_high": evaluation.ci_high,
        "test_loss": evaluation.loss,
    }
    sink.log([Point(key=key, step=step, value=value) for key, value in values.items()])
