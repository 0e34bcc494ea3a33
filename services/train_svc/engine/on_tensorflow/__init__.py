"""The TensorFlow engine: a layer for each block, and the model that they make."""

from importlib import import_module

from services.train_svc.engine.architecture import FAMILIES
from services.train_svc.engine.on_tensorflow import ema, optimizer, tensors
from services.train_svc.engine.on_tensorflow.model import Model, build_tensorflow

for family in FAMILIES:
    import_module(f"{__name__}.{family}")

__all__ = ["Model", "build_tensorflow", "ema", "optimizer", "tensors"]
