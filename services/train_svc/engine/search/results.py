"""What a search found, and the files that it leaves."""

import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from services.train_svc.engine.search.bars import bars_svg
from services.train_svc.engine.search.claims import ERROR
from services.train_svc.engine.search.running import EPOCHS, METRICS, settings_of
from services.train_svc.engine.search.studies import Opened

BEST, IMPORTANCE = "best.yaml", "importance.svg"
FEWEST = 4
"""Completed trials below which the importance of a parameter says nothing."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """How a trial ended, or how it stands."""

    number: int
    """From 0."""
    state: str
    """complete, pruned, failed, running or waiting."""
    value: float | None
    """Of what is searched by: that of the weights it ended with, or of the last epoch before it was pruned."""
    params: Mapping[str, Any]
    """What was drawn."""
    epochs: int
    """That it was evaluated after."""
    seconds: float
    """That it took, pauses included; 0: not known."""
    error: str
    """Why it failed; empty: it did not."""
    metrics: Mapping[str, float]
    """All that was measured of the weights it ended with."""
    folder: Path
    """Where it is kept."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search found."""

    metric: str
    """What was searched by."""
    rises: bool
    """Whether more of it is better."""
    rows: tuple[TrialRow, ...]
    """All trials by number."""
    ranking: tuple[TrialRow, ...]
    """Those that ran to their end, best first."""
    importance: Mapping[str, float] = field(default_factory=dict)
    """Share of each parameter in the variance of the values, by fANOVA (Hutter et al. 2014); empty: too few trials."""
    folder: Path
    """Where `best.yaml`, `importance.svg` and the trials are."""
    stopped: bool
    """Whether it was asked to leave before all trials had ended."""

    @property
    def best(self) -> TrialRow | None:
        """The best trial; None: none ran to its end."""
        return self.ranking[0] if self.ranking else None


def result_of(opened: Opened, *, stopped: bool) -> SearchResult:
    """Return what a study has found by now, and write `best.yaml` and `importance.svg`."""
    rows = [row_of(opened, trial) for trial in opened.trials()]
    complete = [row for row in rows if row.state == "complete" and row.value is not None]
    ranking = sorted(complete, key=lambda row: opened.aim.key(row.value or 0.0))
    importance = importances(opened.study(), opened.search.seed)
    folder = opened.job.folder
    if ranking:
        (folder / BEST).write_text(best_yaml(opened, ranking[0]), "utf-8")
    if importance:
        title = f"Importance of hyper-parameters for {opened.aim.metric}"
        (folder / IMPORTANCE).write_text(bars_svg(importance, title), "utf-8")
    return SearchResult(
        metric=opened.aim.metric,
        rises=opened.aim.rises,
        rows=tuple(rows),
        ranking=tuple(ranking),
        importance=importance,
        folder=folder,
        stopped=stopped,
    )


def row_of(opened: Opened, trial: FrozenTrial) -> TrialRow:
    """Return how a trial stands."""
    notes = trial.user_attrs
    return TrialRow(
        number=trial.number,
        state="failed" if trial.state == TrialState.FAIL else trial.state.name.lower(),
        value=trial.value,
        params=trial.params,
        epochs=notes.get(EPOCHS, len(trial.intermediate_values)),
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        error=notes.get(ERROR, ""),
        metrics=notes.get(METRICS, {}),
        folder=opened.folder_of(trial.number),
    )


def importances(study: optuna.Study, seed: int) -> dict[str, float]:
    """Return the share of each parameter in the variance of the values, largest first; empty: they cannot be told."""
    values = [trial.value for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    if len(values) < FEWEST or len(set(values)) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed % 2**32))
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}


def best_yaml(opened: Opened, best: TrialRow) -> str:
    """Return a training file that repeats a trial."""
    data = opened.job.data.to_data()
    if opened.job.data.folder:
        data = {"folder": os.path.relpath(data["folder"], opened.job.folder)}
    job = {"data": data, "train": settings_of(opened, best.params), "folder": "best"}
    head = f"# Repeats trial {best.number} of {opened.job.path.name}: {opened.aim.metric} {best.value:.6g}\n"
    return head + yaml.safe_dump(job, sort_keys=False, allow_unicode=True)
