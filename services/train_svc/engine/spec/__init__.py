"""The training specification: the `train:` section of a lifecycle, checked once it exists. Loads no torch."""

from services.train_svc.engine.spec.augment import AugmentSpec, MaskSpec, MixSpec
from services.train_svc.engine.spec.budget import MemoryBudget
from services.train_svc.engine.spec.loss import IGNORED, LossSpec
from services.train_svc.engine.spec.model import ModelSpec, takes_pictures
from services.train_svc.engine.spec.optimizer import ClipSpec, OptimizerSpec, ScheduleSpec
from services.train_svc.engine.spec.precision import Precision
from services.train_svc.engine.spec.train import EarlyStoppingSpec, TrainSpec

__all__ = [
    "IGNORED",
    "AugmentSpec",
    "ClipSpec",
    "EarlyStoppingSpec",
    "LossSpec",
    "MaskSpec",
    "MemoryBudget",
    "MixSpec",
    "ModelSpec",
    "OptimizerSpec",
    "Precision",
    "ScheduleSpec",
    "TrainSpec",
    "takes_pictures",
]
