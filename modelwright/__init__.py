"""Modelwright: one lineage, one gate, one command from data to traffic.

Names load when they are first used, so that `import modelwright` costs a
training script next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelwright.client import Client, JobFailedError
    from modelwright.tracking import Run, active_run, finish, init, log_metrics, start_run, sync
    from services.common.errors import (
        BusyError,
        ConflictError,
        InvalidError,
        ModelwrightError,
        NotFoundError,
        UnauthorizedError,
        UnavailableError,
    )

__version__ = "0.1.0"
__all__ = [
    "BusyError",
    "Client",
    "ConflictError",
    "InvalidError",
    "JobFailedError",
    "ModelwrightError",
    "NotFoundError",
    "Run",
    "UnauthorizedError",
    "UnavailableError",
    "active_run",
    "finish",
    "init",
    "log_metrics",
    "start_run",
    "sync",
]

MODULES = ("client", "compress", "data", "serve", "tracking", "train")
HOMES = {
    "Client": "modelwright.client",
    "JobFailedError": "modelwright.client",
    "Run": "modelwright.tracking",
    "active_run": "modelwright.tracking",
    "finish": "modelwright.tracking",
    "init": "modelwright.tracking",
    "log_metrics": "modelwright.tracking",
    "start_run": "modelwright.tracking",
    "sync": "modelwright.tracking",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name in MODULES:
        return import_module(f"modelwright.{name}")
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    if name in __all__:
        return getattr(import_module("services.common.errors"), name)
    raise AttributeError(f"module 'modelwright' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *MODULES])
