"""The optimizer of a spec on TensorFlow: torch's update rules to the letter, and its state by torch's names."""

from services.train_svc.engine.on_tensorflow.optimizer.building import Optimizer, build_optimizer, set_rate
from services.train_svc.engine.on_tensorflow.optimizer.state import fill_optimizer, optimizer_tensors

__all__ = ["Optimizer", "build_optimizer", "fill_optimizer", "optimizer_tensors", "set_rate"]
