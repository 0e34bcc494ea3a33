"""Where the metrics of a local run go; each is a `MetricSink` of `engine/ports.py`."""

from services.train_svc.engine.sinks.jsonl import JsonlSink, read_curve
from services.train_svc.engine.sinks.several import Several
from services.train_svc.engine.sinks.tensorboard import TensorBoardSink

__all__ = ["JsonlSink", "Several", "TensorBoardSink", "read_curve"]
