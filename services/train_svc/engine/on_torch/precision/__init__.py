"""In which number format each part of a model on torch computes: measured, applied, and float8."""

from services.train_svc.engine.on_torch.precision.applying import apply_policy, lift_policy
from services.train_svc.engine.on_torch.precision.casting import autocast_of, resolve, set_float32_products
from services.train_svc.engine.on_torch.precision.float8 import convert_to_float8
from services.train_svc.engine.on_torch.precision.measuring import measure_sensitivity

__all__ = [
    "apply_policy",
    "autocast_of",
    "convert_to_float8",
    "lift_policy",
    "measure_sensitivity",
    "resolve",
    "set_float32_products",
]
