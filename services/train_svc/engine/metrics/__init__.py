"""Metrics of evaluation, on NumPy, batch after batch; they know no engine. Loads neither torch nor TensorFlow."""

from services.train_svc.engine.metrics.building import build_metrics
from services.train_svc.engine.metrics.choice import Direction, goes_up, primary
from services.train_svc.engine.metrics.intervals import bootstrap_rate, wilson
from services.train_svc.engine.metrics.metric import Metric, Vocabulary

__all__ = [
    "Direction",
    "Metric",
    "Vocabulary",
    "bootstrap_rate",
    "build_metrics",
    "goes_up",
    "primary",
    "wilson",
]
