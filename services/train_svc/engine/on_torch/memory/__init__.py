"""Measures against a lack of memory on torch, and the meter that says what they save."""

from services.train_svc.engine.on_torch.memory.applying import apply_measures, ladder_of, lift_measures, saving
from services.train_svc.engine.on_torch.memory.cross_entropy import linear_cross_entropy
from services.train_svc.engine.on_torch.memory.head import Head, defer_head, restore_head
from services.train_svc.engine.on_torch.memory.meter import PeakMeter
from services.train_svc.engine.on_torch.memory.moments import HostMoments
from services.train_svc.engine.on_torch.memory.offload import activations_on_host
from services.train_svc.engine.on_torch.memory.recompute import lift, recompute
from services.train_svc.engine.on_torch.memory.units import repeated_blocks, units_of

__all__ = [
    "Head",
    "HostMoments",
    "PeakMeter",
    "activations_on_host",
    "apply_measures",
    "defer_head",
    "ladder_of",
    "lift",
    "lift_measures",
    "linear_cross_entropy",
    "recompute",
    "repeated_blocks",
    "restore_head",
    "saving",
    "units_of",
]
