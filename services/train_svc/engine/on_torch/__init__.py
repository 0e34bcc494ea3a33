"""The torch engine: a module for each block, and the model that they make."""

from importlib import import_module

from services.train_svc.engine.architecture import FAMILIES
from services.train_svc.engine.on_torch import ema, optimizer, tensors
from services.train_svc.engine.on_torch.model import Model, build_torch

for family in FAMILIES:
    import_module(f"{__name__}.{family}")

__all__ = ["Model", "build_torch", "ema", "optimizer", "tensors"]
