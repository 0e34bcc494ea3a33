"""An optimizer's state by parameter name, as either engine takes it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from services.train_svc.engine.on_tensorflow.optimizer.building import Optimizer
from services.train_svc.engine.on_tensorflow.tensors import from_canonical, to_canonical
from services.train_svc.engine.slots import check_slots

Arrays = dict[str, npt.NDArray[Any]]


def optimizer_tensors(model: Any, optimizer: Optimizer) -> Arrays:  # noqa: ANN401 - as `build_optimizer`
    """Return the optimizer's state as `<parameter>/<slot>` arrays in the canonical layout, as torch names them."""
    step = np.asarray(optimizer.step)
    return {
        f"{name}/{slot}": step
        if slot == "step"
        else to_canonical(np.asarray(optimizer.slots[f"{name}/{slot}"]), optimizer.params[name])
        for name, shapes in optimizer.shapes.items()
        for slot in shapes
    }


def fill_optimizer(model: Any, optimizer: Optimizer, tensors: Mapping[str, npt.NDArray[Any]]) -> None:  # noqa: ANN401
    """Give the optimizer the state that `optimizer_tensors` of either engine returned, all or nothing.

    A parameter that `tensors` does not mention begins anew.

    Raises:
        InvalidError: it is of another model or optimizer.
    """
    check_slots(optimizer.shapes, {key: tuple(tensor.shape) for key, tensor in tensors.items()})
    # Torch counts for each parameter, and one that gets no gradient stays behind.
    optimizer.step.assign(max((float(value) for key, value in tensors.items() if key.endswith("/step")), default=0.0))
    for key, slot in optimizer.slots.items():
        param = optimizer.params[key.rpartition("/")[0]]
        slot.assign(from_canonical(np.asarray(tensors[key]), param) if key in tensors else np.zeros(slot.shape))
