"""How good a model is on data that it does not learn from."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.train_svc.engine.batch import Batch
from services.train_svc.engine.metrics import Metric
from services.train_svc.engine.training.learner import Learner


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What an evaluation found."""

    metrics: dict[str, float]
    """`loss` and all metrics by name."""
    samples: int
    """How many were looked at."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Evaluates a learner; its metrics are made anew each time."""

    metrics: Callable[[], Sequence[Metric]]
    """Makes what is measured beside the loss."""
    primary: str
    """The one that early stopping and the best checkpoints go by, such as `accuracy`."""

    def evaluate(self, learner: Learner, batches: Iterable[Batch]) -> Judged:
        """Return what is measured over all batches, with the averaged weights where there are such."""
        metrics = self.metrics()
        total, weight, samples = 0.0, 0.0, 0
        with learner.averaged():
            for batch in batches:
                predicted = learner.predict(batch)
                total, weight = total + predicted.total, weight + predicted.weight
                samples += len(batch)
                for metric in metrics:
                    metric.update(predicted.outputs, batch.targets)
        found = {"loss": total / max(weight, 1e-12)}
        for metric in metrics:
            found |= metric.result()
        return Judged(metrics=found, samples=samples)
