"""The curves of a local run, in tracking."""

from collections.abc import Sequence

from modelwright.tracking import Run
from services.train_svc.engine.ports import Point


class TrackingSink:
    """Forwards metrics to a run that `modelwright.start_run` gave; works while no server answers.

        with modelwright.start_run(name="baseline") as run:
            Trainer(model, data, sinks=[TrackingSink(run)]).fit()

    Args:
        run: is not finished here; whoever started it does that.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def log(self, points: Sequence[Point]) -> None:
        """Log the points, those of one step together; the server writes a repeated (key, step) once.

        Raises:
            ConflictError: the run is finished.
        """
        by_step: dict[int, dict[str, float]] = {}
        for point in points:
            by_step.setdefault(point.step, {}).setdefault(point.key, point.value)
        for step, values in by_step.items():
            self._run.log_metrics(values, step=step)
