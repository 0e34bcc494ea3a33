"""Trials of a hyper-parameter search as runs of our tracking."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import modelwright
from modelwright.train.tracking import TrackingSink
from services.train_svc.engine.search.tools import TrialPlan, TrialStoppedError


@contextmanager
def tracked(
    plan: TrialPlan, *, name: str, url: str | None = None, token: str | None = None, project: str | None = None
) -> Iterator[Sequence[TrackingSink]]:
    """Log a trial as a run, and end the run as the trial ends; works while no server answers.

    A trial that is stopped and goes on later is a run of its own each time.

    Args:
        plan: the trial.
        name: of the search; begins the run's name.
        url: the server; None: as everywhere.
        token: of the server.
        project: of the run.
    """
    from optuna import TrialPruned  # noqa: PLC0415 - half a second, which `modelwright.train` does not take

    modelwright.init(url, token, project)
    tags = {"search": name, "trial": str(plan.number)}
    run = modelwright.start_run(f"{name}-{plan.number:04d}", params={**plan.settings, **plan.params}, tags=tags)
    try:
        yield [TrackingSink(run)]
    except TrialPruned:
        run.set_tags({"pruned": "true"})
        run.finish()
        raise
    except TrialStoppedError:
        run.finish("cancelled", error="the search was stopped")
        raise
    except Exception as error:
        run.finish("failed", error=f"{type(error).__name__}: {error}")
        raise
    run.finish()
