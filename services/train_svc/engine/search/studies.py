"""A search's study on disk: opened, continued, and recognised."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from services.common.errors import InvalidError
from services.train_svc.engine.metrics import goes_up, primary
from services.train_svc.engine.reading import fault
from services.train_svc.engine.search.claims import Claims
from services.train_svc.engine.search.sampling import SeededTpe, pruner_of
from services.train_svc.engine.search.spec import Aim, SearchSpec
from services.train_svc.engine.search.store import Store
from services.train_svc.engine.training.jobfile import JobFile
from services.train_svc.engine.training.stopping import PREFIX

FILE, LOCK, LOCKS, TRIALS = "search.sqlite", "search.lock", "workers", "trials"
NAME = "search"
BELONGS = "belongs_to"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A study that trials may be taken from."""

    job: JobFile
    """Whose search it is."""
    aim: Aim
    """What it wants."""
    store: Store
    """Where it is."""
    study_id: int
    """Which it is there."""
    claims: Claims
    """Who runs which trial."""

    @property
    def search(self) -> SearchSpec:
        """How is searched."""
        return search_of(self.job)

    def study(self) -> optuna.Study:
        """Return Optuna's view of it as it is now."""
        search = self.search
        sampler = SeededTpe(search.seed, search.random_trials)
        return optuna.load_study(study_name=NAME, storage=self.store, sampler=sampler, pruner=pruner_of(search.pruner))

    def trials(self) -> list[FrozenTrial]:
        """Return its trials by number, as many as are wanted."""
        return self.store.get_all_trials(self.study_id, deepcopy=False)[: self.search.trials]

    def folder_of(self, number: int) -> Path:
        """Return the folder of a trial."""
        return self.job.folder / TRIALS / f"{number:04d}"


def open_study(job: JobFile) -> Opened:
    """Return the study in a file's folder, which is made if there is none, with as many trials as are wanted.

    Raises:
        InvalidError: the file has no section `search`, or the study there is another search's; what differs is named.
    """
    search = search_of(job)
    aim = aim_of(job)
    job.folder.mkdir(parents=True, exist_ok=True)
    with _alone(job.folder):
        store = Store(job.folder / FILE)
        study_id = _opened(store, aim, belongings(job), job.folder)
        _fill_up(store, study_id, search.trials)
    claims = Claims(store, study_id, job.folder / LOCKS, parameters=len(search.parameters))
    return Opened(job=job, aim=aim, store=store, study_id=study_id, claims=claims)


def search_of(job: JobFile) -> SearchSpec:
    """Return how a file's hyper-parameters are searched.

    Raises:
        InvalidError: it does not say.
    """
    if job.search is None:
        message = f"{job.path} has no such section; add search: {{parameters: {{optimizer.lr: {{log: [1e-5, 1e-2]}}}}}}"
        raise fault("search", message)
    return job.search


def aim_of(job: JobFile) -> Aim:
    """Return what a file's search wants."""
    search = search_of(job)
    name = (search.metric or primary(job.train.loss)[0]).removeprefix(PREFIX)
    rises = goes_up(name) if search.direction == "auto" else search.direction == "maximize"
    return Aim(metric=f"{PREFIX}{name}", rises=rises)


def belongings(job: JobFile) -> dict[str, Any]:
    """Return all that decides what the trials of a file are, as plain data."""
    train = {**job.train.to_data(), "digest": job.train.digest}
    found = {"data": job.data.to_data(), "train": train, "search": search_of(job).to_data()}
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _opened(store: Store, aim: Aim, belongs: dict[str, Any], folder: Path) -> int:
    try:
        study_id = store.get_study_id_from_name(NAME)
    except KeyError:
        direction = StudyDirection.MAXIMIZE if aim.rises else StudyDirection.MINIMIZE
        study_id = store.create_new_study([direction], NAME)
    known = store.get_study_user_attrs(study_id)
    if BELONGS not in known:
        store.set_study_user_attr(study_id, BELONGS, belongs)
    _check_same(known.get(BELONGS, belongs), belongs, folder)
    return study_id


def _check_same(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    if before["train"]["digest"] == now["train"]["digest"]:
        # What does not shape a curve may change.
        before, now = {**before, "train": {}}, {**now, "train": {}}
    names = [
        f"{section}.{name}"
        for section, values in now.items()
        for name in values | before[section]
        if values.get(name) != before[section].get(name) and name != "digest"
    ]
    if names:
        message = f"the search in {folder} had another {', '.join(names)}; undo that, or give another folder"
        raise InvalidError(f"{message}, or --no-resume to begin anew", field="folder")


def _fill_up(store: Store, study_id: int, trials: int) -> None:
    # All wait from the beginning: who takes one takes the next number, whoever else does.
    for _ in range(len(store.get_all_trials(study_id, deepcopy=False)), trials):
        store.create_new_trial(study_id, optuna.trial.create_trial(state=TrialState.WAITING))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with open(folder / LOCK, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
