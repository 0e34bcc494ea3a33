"""Architectures, their models on two engines, and their weights; usable with no service running.

    from modelwright.train import templates, describe, build, load_weights, save_weights, export_onnx

Names load when they are first used, so that importing this takes milliseconds and no torch or TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.train_svc.engine.architecture import Description, Input, read_description, to_yaml
    from services.train_svc.engine.building import build
    from services.train_svc.engine.export import export_onnx
    from services.train_svc.engine.plan import Plan, plan
    from services.train_svc.engine.runstate import (
        Position,
        build_ema,
        build_optimizer,
        load_state,
        save_state,
        settle_gates,
    )
    from services.train_svc.engine.samples import sample_inputs
    from services.train_svc.engine.search.searching import search
    from services.train_svc.engine.sinks import JsonlSink, TensorBoardSink, read_curve
    from services.train_svc.engine.spec import MemoryBudget, OptimizerSpec, Precision, ScheduleSpec, TrainSpec
    from services.train_svc.engine.summary import Summary, summarize
    from services.train_svc.engine.templates import Template, describe, templates
    from services.train_svc.engine.training.callbacks import RunFacts
    from services.train_svc.engine.training.jobfile import read_jobfile
    from services.train_svc.engine.training.trainer import Trainer
    from services.train_svc.engine.weights import load_weights, save_weights

_ENGINE = "services.train_svc.engine"
_NAMES = {
    "architecture": ("Description", "Input", "read_description", "to_yaml"),
    "building": ("build",),
    "export": ("export_onnx",),
    "plan": ("Plan", "plan"),
    "runstate": ("Position", "build_ema", "build_optimizer", "load_state", "save_state", "settle_gates"),
    "samples": ("sample_inputs",),
    "sinks": ("JsonlSink", "TensorBoardSink", "read_curve"),
    "spec": ("MemoryBudget", "OptimizerSpec", "Precision", "ScheduleSpec", "TrainSpec"),
    "search.searching": ("search",),
    "summary": ("Summary", "summarize"),
    "templates": ("Template", "describe", "templates"),
    "training.callbacks": ("RunFacts",),
    "training.jobfile": ("read_jobfile",),
    "training.trainer": ("Trainer",),
    "weights": ("load_weights", "save_weights"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Description",
    "Input",
    "JsonlSink",
    "MemoryBudget",
    "OptimizerSpec",
    "Plan",
    "Position",
    "Precision",
    "RunFacts",
    "ScheduleSpec",
    "Summary",
    "Template",
    "TensorBoardSink",
    "TrainSpec",
    "Trainer",
    "build",
    "build_ema",
    "build_optimizer",
    "describe",
    "export_onnx",
    "load_state",
    "load_weights",
    "plan",
    "read_curve",
    "read_description",
    "read_jobfile",
    "sample_inputs",
    "save_state",
    "save_weights",
    "search",
    "settle_gates",
    "summarize",
    "templates",
    "to_yaml",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    """Return a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{_ENGINE}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
