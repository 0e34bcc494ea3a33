"""The steps that preprocess.yaml may name: every module of `steps` registers its own."""

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from services.common.errors import InvalidError
from services.common.names import nearest


class Step(Protocol):
    """One step: a frozen dataclass of its options, called with what the step before it returned."""

    def __call__(self, value: Any) -> NDArray[Any]:  # noqa: ANN401 - bytes for a first step, an array for others
        """Return the array, channels first. Raises InvalidError for a value it cannot take."""
        ...


Found = TypeVar("Found", bound=type)
_STEPS: dict[str, type] = {}


def step(name: str) -> Callable[[Found], Found]:
    """Register a frozen dataclass as the step `name`."""

    def register(found: Found) -> Found:
        _STEPS[name] = found
        return found

    return register


@cache
def known_steps() -> dict[str, type]:
    """Return every step by name. A new step is one new file in `steps`."""
    package = importlib.import_module("services.common.preprocess.steps")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(_STEPS)


def step_class(name: str, where: str) -> type:
    """Return the step's class, or say which one was meant."""
    steps = known_steps()
    if name not in steps:
        raise InvalidError(
            f"{where}: there is no step {name!r}; steps are {', '.join(steps)}{nearest(name, steps)}", field=where
        )
    return steps[name]
