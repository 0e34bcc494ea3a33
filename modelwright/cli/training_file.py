"""What the commands under `train` share: the file, its settings on the command line, and its data."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelwright.cli.shell import Shell, here
from services.common.errors import InvalidError, Violation

if TYPE_CHECKING:
    from services.train_svc.engine.training.jobfile import Change, JobFile
    from services.train_svc.engine.training.trainer import Trainer

FILE = Annotated[Path, typer.Argument(metavar="FILE", help="YAML file with `data`, `train` and, if wanted, `search`.")]
FOLDER = Annotated[Path | None, typer.Option(help="Where it is kept; else `folder` of the file, or runs/<its name>.")]
SET = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="NAME=VALUE", help="A setting of `train`: optimizer.lr=1e-3; may repeat."),
]
DEVICE = Annotated[str, typer.Option(help="cpu or cuda; else as the file says.")]
RESUME = Annotated[
    bool | None,
    typer.Option(
        "--resume/--no-resume",
        help="Go on from what the folder holds, or begin anew and keep that beside it. [default: go on]",
    ),
]
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def engine(module: str) -> Any:  # noqa: ANN401 - a module
    """Return a module of the training engine, loaded when it is first needed."""
    return import_module(f"services.train_svc.engine.{module}")


def read_file(file: Path, pairs: list[str] | None, device: str = "", folder: Path | None = None) -> "JobFile":
    """Return what a file and the command line ask for.

    Args:
        file: the YAML file.
        pairs: of `--set`.
        device: of `--device`; empty: as the file says.
        folder: of `--folder`; None: as the file says.

    Raises:
        InvalidError: all faults at once.
    """
    changes = parse_changes(pairs or []) + ([("device", device)] if device else [])
    found: JobFile = engine("training.jobfile").read_jobfile(file, changes, folder=folder)
    return found


def parse_changes(pairs: list[str]) -> "list[Change]":
    """Return the settings that `NAME=VALUE` name; values are read as in YAML.

    Raises:
        InvalidError: one is of another form.
    """
    parse = engine("training.jobyaml").parse
    yaml_error = import_module("yaml").YAMLError
    changes, faults = [], []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            changes.append((name.strip(), parse(text)))
        except yaml_error:
            equals = ""
        if not equals or not name.strip():
            message = f"got {pair!r}, wanted the name of a setting and its value such as optimizer.lr=1e-3"
            faults.append(Violation(field="--set", message=message))
    if faults:
        raise InvalidError("; ".join(fault.message for fault in faults), violations=faults)
    return changes


def open_data(shell: Shell, job: "JobFile") -> Any:  # noqa: ANN401 - what `Trainer` takes
    """Return the data of a file: what its folder holds, or the records of a dataset version.

    Raises:
        InvalidError: the folder holds nothing that is known.
        NotFoundError: the platform has no such version.
        UnavailableError: the platform does not answer.
    """
    if job.data.dataset:
        data = import_module("modelwright.cli.training_data")
        return data.fetch_records(job.data.dataset, url=shell.url or here(), token=shell.token, project=shell.project)
    return engine("search.tools").open_folder_of(job)


def make_trainer(job: "JobFile", data: Any, **more: Any) -> "Trainer":  # noqa: ANN401 - as `Trainer`
    """Return the trainer of a file; `more` is what `Trainer` takes beside the settings."""
    settings = dict(job.settings)
    model = settings.pop("model", job.train.model)
    trainer: Trainer = engine("training.trainer").Trainer(model, data, folder=job.folder, **settings, **more)
    return trainer
