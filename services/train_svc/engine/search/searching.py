"""A search from its first trial to its result; stopped or killed, it goes on where it was."""

import time
from collections.abc import Callable

from services.train_svc.engine.search.results import SearchResult, TrialRow, result_of, row_of
from services.train_svc.engine.search.studies import Opened, open_study
from services.train_svc.engine.search.tools import Tools
from services.train_svc.engine.search.working import with_threads, work, work_together
from services.train_svc.engine.training.jobfile import JobFile

Told = Callable[[TrialRow], None]


def search(
    job: JobFile,
    *,
    tools: Tools | None = None,
    stop: Callable[[], bool] = lambda: False,
    told: Told = lambda row: None,
) -> SearchResult:
    """Run the trials of a file's section `search` that have not ended yet, and return what all of them gave.

    The study is `search.sqlite` in the job's folder, each trial a run in `trials/NNNN`. Several processes may call this
    for the same folder; each takes the trials that no other one runs.

    Args:
        job: the file.
        tools: data, tracking and display.
        stop: asked before every step; the running trials save a checkpoint and wait for the next call.
        told: called with each trial that ends during the call.

    Raises:
        InvalidError: no trial can be run: the data cannot be read, what is searched by is not measured, or the folder
            is another search's.
    """
    tools = tools or Tools()
    opened = open_study(with_threads(job))
    news = News(opened, told)
    until = time.time() + opened.search.timeout_s if opened.search.timeout_s else None
    run = work_together if opened.search.parallel > 1 else work
    run(opened, tools, stop, lambda: until is not None and time.time() >= until, news.look)
    news.look()
    return result_of(opened, stopped=stop())


class News:
    """Trials that ended since it was made.

    Args:
        opened: the study.
        told: called with each.
    """

    def __init__(self, opened: Opened, told: Told) -> None:
        self._opened, self._told = opened, told
        self._known = {trial.number for trial in opened.trials() if trial.state.is_finished()}

    def look(self) -> None:
        """Tell of those that ended since the last call."""
        for trial in self._opened.trials():
            if trial.state.is_finished() and trial.number not in self._known:
                self._known.add(trial.number)
                self._told(row_of(self._opened, trial))
