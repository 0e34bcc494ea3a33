"""What a search is given from outside: data, and whoever else wants to see its trials."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.train_svc.engine.ports import MetricSink
from services.train_svc.engine.reading import fault
from services.train_svc.engine.training.display import Mode
from services.train_svc.engine.training.jobfile import JobFile
from services.train_svc.engine.training.sorting import open_data


class TrialStoppedError(Exception):
    """A trial was asked to leave; its checkpoint is saved, and it goes on when the search does."""


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """What a trial is."""

    number: int
    """From 0."""
    params: Mapping[str, Any]
    """What was drawn, by the path of the setting."""
    settings: Mapping[str, Any]
    """Of the whole training, plain."""
    folder: Path
    """Where it is kept."""


def open_folder_of(job: JobFile) -> Any:  # noqa: ANN401 - what a folder holds
    """Return the data of a file, if it is a folder.

    Raises:
        InvalidError: it is not, or the folder holds nothing that is known.
    """
    if job.data.dataset:
        raise fault("data.dataset", f"{job.data.dataset} is on a platform; use the command line, which fetches it")
    return open_data(Path(job.data.folder))


@contextmanager
def untracked(plan: TrialPlan) -> Iterator[Sequence[MetricSink]]:
    """Show a trial to nobody."""
    yield ()


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a search is carried out with. All of it goes to other processes, so functions must be a module's own."""

    open_data: Callable[[JobFile], Any] = open_folder_of
    """Gives the data, once a process."""
    track: Callable[[TrialPlan], AbstractContextManager[Sequence[MetricSink]]] = untracked
    """Gives sinks for a trial's metrics; it sees the trial's error, `optuna.TrialPruned` or `TrialStoppedError`."""
    display: Mode = "silent"
    """How a trial's progress is shown, where there is one process."""
