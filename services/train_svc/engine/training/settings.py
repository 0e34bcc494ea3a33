"""What a user writes as settings of a run, as its specification."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.reading import fault
from services.train_svc.engine.sources import as_description
from services.train_svc.engine.spec import ModelSpec, OptimizerSpec, TrainSpec


def model_settings(model: Any) -> tuple[dict[str, Any], Any]:  # noqa: ANN401 - see `Trainer`
    """Return the specification's `model`, and the user's own model if it is one, else None.

    Raises:
        InvalidError: it is nothing, or the path of a file that is not there.
    """
    if model is None or model == "":
        raise fault("model", f"got {model!r}; give a description, a template's name, a torch module or a Keras model")
    if isinstance(model, ModelSpec):
        return {"model": model}, None
    if isinstance(model, Description):
        return {"model": ModelSpec(architecture=model)}, None
    if isinstance(model, str | Path) and Path(model).suffix in (".yaml", ".yml"):
        return {"model": ModelSpec(architecture=as_description(str(model)))}, None
    if isinstance(model, str | Mapping):
        return {"model": model}, None
    return {"model": ModelSpec(own=f"{type(model).__module__}.{type(model).__qualname__}")}, model


def listed(given: Any, path: str) -> list[Any]:  # noqa: ANN401 - what the user gave
    """Return objects that were given as a list.

    Raises:
        InvalidError: it is no list, but perhaps one such object.
    """
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping):
        raise fault(path, f"got a {type(given).__name__}, wanted a list: [{type(given).__name__}(...)]")
    return list(given)


def spec_of(settings: Mapping[str, Any]) -> TrainSpec:
    """Return the specification of settings.

    Args:
        settings: fields of `TrainSpec`; `lr` stands for `optimizer.lr`.

    Raises:
        InvalidError: one is unknown or wrong; all at once, with the nearest that is known.
    """
    given = dict(settings)
    if "lr" in given:
        optimizer = given.get("optimizer", {})
        named = {"name": optimizer} if isinstance(optimizer, str) else optimizer
        if isinstance(named, OptimizerSpec):
            named = dataclasses.asdict(named)
        given["optimizer"] = {**named, "lr": given.pop("lr")} if isinstance(named, Mapping) else named
    return TrainSpec.from_mapping(given)
