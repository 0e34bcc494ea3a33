"""Tracking for any training script: `init`, `start_run`, and what a `Run` logs.

    import modelwright

    with modelwright.start_run(name="baseline", params={"lr": 1e-3}) as run:
        for step, loss in enumerate(training()):
            run.log_metrics({"loss": loss}, step=step)

Nothing here waits for the server. Records go to disk first; a server that is
away gets them once, when it is back, from this process, the next one, or
`modelwright sync`.
"""

from modelwright.tracking.current import active_run, finish, init, log_metrics, start_run, sync
from modelwright.tracking.run import Run

__all__ = ["Run", "active_run", "finish", "init", "log_metrics", "start_run", "sync"]
