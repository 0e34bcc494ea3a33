"""The two engines, loaded when they are asked for. Neither needs the other."""

import importlib
import os
import sys
from types import ModuleType
from typing import Any, Literal

from services.common.errors import InvalidError
from services.train_svc.engine.reading import fault

Engine = Literal["torch", "tensorflow"]
PACKAGES: dict[str, str] = {"torch": "on_torch", "tensorflow": "on_tensorflow"}
HOME = "services.train_svc.engine"


def load_engine(engine: str) -> ModuleType:
    """Return the engine's package.

    Raises:
        InvalidError: it is unknown, or not installed.
    """
    if engine not in PACKAGES:
        raise fault("engine", f"got {engine!r}, wanted 'torch' or 'tensorflow'")
    if engine == "tensorflow":
        # Its notes on the processor's instructions are nobody's concern; warnings still come.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    try:
        return importlib.import_module(f"{HOME}.{PACKAGES[engine]}")
    except ModuleNotFoundError as error:
        if error.name not in (engine, "keras"):
            raise
        extra = "train" if engine == "torch" else engine
        message = f"{engine} is not installed; run `pip install 'modelwright[{extra}]'`"
        raise fault("engine", message) from error


def load_part(engine: str, part: str) -> ModuleType:
    """Return a module of an engine that building a model does not need, such as `workshop`.

    Raises:
        InvalidError: as `load_engine`.
    """
    return importlib.import_module(f"{load_engine(engine).__name__}.{part}")


def engine_for(model: Any) -> Engine:  # noqa: ANN401 - a user's own model
    """Return the engine of a user's own model, by its class's ancestors.

    Raises:
        InvalidError: it is no torch module and no Keras model.
    """
    homes = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if "torch" in homes:
        return "torch"
    if homes & {"keras", "tensorflow"}:
        return "tensorflow"
    message = f"got a {type(model).__name__}; give a description, a template's name, a torch module or a Keras model"
    raise fault("model", message)


def engine_of(model: Any) -> ModuleType:  # noqa: ANN401 - a model of either engine
    """Return the package of the engine that built a model.

    Raises:
        InvalidError: `build` did not make it.
    """
    # Whoever holds a model has loaded its engine; the other need not be there.
    for package in PACKAGES.values():
        known = sys.modules.get(f"{HOME}.{package}")
        if known is not None and isinstance(model, known.Model):
            return known
    raise InvalidError(f"got a {type(model).__name__}, wanted a model that `build` made", field="model")
