"""The optimizer of a spec on torch, its rate, its step, and its state by parameter name."""

from services.train_svc.engine.on_torch.optimizer.building import apply, build_optimizer, set_rate
from services.train_svc.engine.on_torch.optimizer.state import fill_optimizer, optimizer_tensors

__all__ = ["apply", "build_optimizer", "fill_optimizer", "optimizer_tensors", "set_rate"]
