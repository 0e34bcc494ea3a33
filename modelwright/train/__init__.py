"""Architectures and their weights, usable with no service running.

    from modelwright.train import templates, describe, build, load_weights, save_weights, export_onnx

Names load when they are first used, so that importing this takes milliseconds and no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.train_svc.engine.architecture import Description
    from services.train_svc.engine.building import build
    from services.train_svc.engine.export import export_onnx
    from services.train_svc.engine.spec import TrainSpec
    from services.train_svc.engine.templates import Template, describe, templates
    from services.train_svc.engine.weights import load_weights, save_weights

__all__ = [
    "Description",
    "Template",
    "TrainSpec",
    "build",
    "describe",
    "export_onnx",
    "load_weights",
    "save_weights",
    "templates",
]

_ENGINE = "services.train_svc.engine"
_HOMES = {
    "Description": "architecture",
    "Template": "templates",
    "TrainSpec": "spec",
    "build": "building",
    "describe": "templates",
    "export_onnx": "export",
    "load_weights": "weights",
    "save_weights": "weights",
    "templates": "templates",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    """Return a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{_ENGINE}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
