"""A training run from a dataset version to a package: decode, fit, evaluate, export."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.train_svc.engine.dataset import PictureDataset
from services.train_svc.engine.ports import MetricSink, Point, Ports, ProgressSink
from services.train_svc.engine.spec import TrainSpec
from services.train_svc.engine.training.finishing import Lineage, Outcome, export_run
from services.train_svc.engine.training.material import of_pictures
from services.train_svc.engine.training.run import Run

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
    resume_from: Path | None = None
    """The checkpoint to go on from."""


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
    spec, tested = assignment.spec, dataset.tested
    run = Run(spec, of_pictures(dataset, spec), assignment.folder)
    if dataset.is_resized and run.material.description:
        _, height, width = run.material.description.input_shape
        LOG.info("the pictures differ in size and are read at %s x %s; "
                 "train.model.image_height and image_width change that", height, width)  # fmt: skip
    fit = run.fit(resume=assignment.resume_from or False, ports=_told(ports, assignment.submitted_at))
    if fit.stopped:
        raise Stopped(f"stopped at step {fit.step} of {fit.total_steps}; its checkpoint is saved")
    ports.progress.report(progress=TRAINING_SHARE, eta_s=FINISHING_S, message=f"evaluating on the {tested} split")
    judged = run.judge(tested)
    metrics = judged.metrics
    _log_evaluation(ports.metrics, metrics, fit.step)
    LOG.info("%s on the %s split: %s", run.primary, tested, _with_interval(run.primary, metrics))
    ports.progress.report(progress=0.97, eta_s=FINISHING_S / 2, message="exporting to ONNX")
    lineage = Lineage(name=spec.model_name, run_id=assignment.run_id, dataset_digest=dataset.digest)
    return export_run(run, assignment.folder / "package", lineage, tested, judged)


def _with_interval(name: str, metrics: dict[str, float]) -> str:
    low, high = metrics.get(f"{name}_ci_low"), metrics.get(f"{name}_ci_high")
    interval = "" if low is None or high is None else f" (95% interval {low:.4f} to {high:.4f})"
    return f"{metrics[name]:.4f}{interval}"


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


def _log_evaluation(sink: MetricSink, metrics: dict[str, float], step: int) -> None:
    named = {("test_loss" if name == "loss" else name): value for name, value in metrics.items()}
    sink.log([Point(key=key, step=step, value=value) for key, value in named.items()])
