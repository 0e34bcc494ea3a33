"""`train run`: a training from a file, to its evaluated model."""

import json
import platform
import shutil
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelwright.cli.failures import INTERRUPTED
from modelwright.cli.output import Column
from modelwright.cli.shell import Shell
from modelwright.cli.training_file import (
    DEVICE,
    FILE,
    FOLDER,
    QUIET,
    RESUME,
    SET,
    engine,
    make_trainer,
    open_data,
    read_file,
)
from modelwright.cli.training_folder import prepare_folder
from modelwright.cli.training_stop import leaving_in_order
from services.common.errors import InvalidError, ModelwrightError

if TYPE_CHECKING:
    from services.train_svc.engine.training.jobfile import JobFile
    from services.train_svc.engine.training.judging import Judged
    from services.train_svc.engine.training.loop import Fit
    from services.train_svc.engine.training.trainer import Trainer

RESULT, PACKAGE = "result.json", "model"
RECORDED = ("modelwright", "torch", "tensorflow", "numpy")
TENSORBOARD = Annotated[Path | None, typer.Option(metavar="DIR", help="Also write curves for TensorBoard here.")]


def run(
    shell: Shell,
    file: FILE,
    *,
    folder: FOLDER = None,
    resume: RESUME = None,
    set: SET = None,
    tensorboard: TENSORBOARD = None,
    device: DEVICE = "",
    quiet: QUIET = False,
) -> None:
    """Train, evaluate on the test split, and pack the model; after Ctrl-C the same command goes on."""
    job = read_file(file, set, device, folder)
    data = open_data(shell, job)
    moved = prepare_folder(job, resume)
    if moved:
        shell.output.remark(f"the earlier run is in {moved}")
    trainer = make_trainer(job, data, display="silent", callbacks=_display(quiet=quiet), sinks=_sinks(tensorboard))
    began = time.monotonic()
    fit = _fitted(shell, trainer, resume=resume is not False, quiet=quiet)
    if fit.stopped:
        shell.output.remark(
            f"stopped at step {fit.step}; the checkpoint is in {job.folder}. Run the same command to go on"
        )
        raise typer.Exit(INTERRUPTED)
    result = _result(trainer, job, fit, time.monotonic() - began)
    (job.folder / RESULT).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if result["not_packed"]:
        shell.output.remark(f"the model is not packed: {result['not_packed']}")
    shell.output.record(result, SUMMARY)


def _fitted(shell: Shell, trainer: "Trainer", *, resume: bool, quiet: bool) -> "Fit":
    ports = engine("ports").Ports
    with leaving_in_order() as asked:
        if trainer.memory_plan is not None and not quiet:
            shell.output.remark(trainer.memory_plan.table())
        return trainer.fit(resume=resume, ports=ports(stop=asked))


def _display(*, quiet: bool) -> list[Any]:
    # On standard error, so that the answer can be piped.
    return [] if quiet else [engine("training.display").Display("auto", stream=sys.stderr)]


def _sinks(tensorboard: Path | None) -> list[Any]:
    if tensorboard is None:
        return []
    try:
        return [engine("sinks").TensorBoardSink(tensorboard)]
    except ModuleNotFoundError as error:
        message = "--tensorboard needs the package tensorboard: pip install tensorboard"
        raise InvalidError(message, field="--tensorboard") from error


def _result(trainer: "Trainer", job: "JobFile", fit: "Fit", seconds: float) -> dict[str, Any]:
    split, judged = _evaluated(trainer)
    model, not_packed = _packed(trainer, split, judged)
    return {
        "folder": str(job.folder),
        "model": str(model) if model else "",
        "not_packed": not_packed,
        "split": split,
        "metrics": _finite(judged.metrics if judged else {}),
        "validation": _finite(fit.metrics),
        "step": fit.step,
        "best_step": fit.best_step,
        "seconds": round(seconds, 3),
        "parameters": trainer.learner.parameters,
        "device": trainer.learner.device_name,
        "precision": trainer.learner.precision,
        "dataset_digest": trainer.material.data.train.digest,
        "versions": _versions(),
        "spec": job.train.to_data(),
    }


def _evaluated(trainer: "Trainer") -> "tuple[str, Judged | None]":
    try:
        split: str = engine("training.finishing").split_tested(trainer)
    except InvalidError:
        return "", None
    return split, trainer.judge(split)


def _packed(trainer: "Trainer", split: str, judged: "Judged | None") -> tuple[Path | None, str]:
    # The package, or at least weights and description, and why it is not more.
    finishing, target = engine("training.finishing"), trainer.folder / PACKAGE
    shutil.rmtree(target, ignore_errors=True)
    if judged is None:
        return _weights(trainer, target), "there is neither a test nor a validation split to measure it on"
    lineage = finishing.Lineage(name=trainer.spec.model_name, dataset_digest=trainer.material.data.train.digest)
    try:
        finishing.export_run(trainer, target, lineage, split, judged)
    except ModelwrightError as error:
        return _weights(trainer, target), error.message
    return target, ""


def _weights(trainer: "Trainer", target: Path) -> Path:
    public = import_module("modelwright.train")
    target.mkdir(parents=True, exist_ok=True)
    public.save_weights(trainer.model, target / "weights.safetensors")
    (target / "architecture.yaml").write_text(public.to_yaml(trainer.material.description), "utf-8")
    return target


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    # JSON has no number for the others.
    return {name: float(value) if abs(value) < float("inf") else None for name, value in metrics.items()}


def _metrics_text(result: dict[str, Any]) -> str:
    texts: dict[str, str] = engine("training.wording").metric_texts(
        {name: value for name, value in result["metrics"].items() if value is not None}
    )
    return f"{result['split']}: " + ", ".join(f"{name} {text}" for name, text in texts.items()) if texts else ""


SUMMARY: dict[str, Column] = {
    "result": _metrics_text,
    "weights": lambda result: f"of step {result['best_step'] or result['step']}, of {result['step']} made",
    "time": lambda result: engine("training.wording").time_text(result["seconds"]),
    "device": lambda result: f"{result['device']}, {result['precision']}",
    "folder": lambda result: result["folder"],
    "model": lambda result: result["model"],
}
