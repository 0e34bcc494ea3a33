"""Which trials keep their checkpoints."""

import shutil

from optuna.trial import TrialState

from services.train_svc.engine.search.studies import Opened
from services.train_svc.engine.training.resuming import CHECKPOINTS


def drop_checkpoints(opened: Opened) -> None:
    """Remove the checkpoints of all ended trials but the best; their curves and figures stay."""
    ended = [trial for trial in opened.trials() if trial.state.is_finished()]
    complete = [trial for trial in ended if trial.state == TrialState.COMPLETE and trial.value is not None]
    complete.sort(key=lambda trial: opened.aim.key(trial.value or 0.0))
    kept = {trial.number for trial in complete[: opened.search.keep]}
    for trial in ended:
        if trial.number not in kept:
            shutil.rmtree(opened.folder_of(trial.number) / CHECKPOINTS, ignore_errors=True)
