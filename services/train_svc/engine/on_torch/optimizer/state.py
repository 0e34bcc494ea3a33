"""An optimizer's state by parameter name, as either engine takes it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from services.train_svc.engine.slots import SCALES, check_slots

Flat = dict[str, torch.Tensor]


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> Flat:
    """Return the optimizer's state as `<parameter>/<slot>` tensors, float32 in the canonical layout.

    Moments of 8 bits come whole, so that AdamW on either engine can go on from them, and with `<slot>_scale` beside
    them: whole numbers alone would not always give the same codes again, and a resumed run would drift.
    """
    return {
        f"{name}/{slot}": value.detach().contiguous()
        for name, parameter in _trained(model, optimizer).items()
        for slot, value in _slots(optimizer, parameter).items()
    }


def fill_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give the optimizer the state that `optimizer_tensors` of either engine returned, in place, all or nothing.

    A parameter that `tensors` does not mention begins anew.

    Raises:
        InvalidError: it is of another model or optimizer.
    """
    trained = _trained(model, optimizer)
    found = {name: _slots(optimizer, parameter) for name, parameter in trained.items()}
    wanted = {
        name: {slot: tuple(value.shape) for slot, value in slots.items() if not slot.endswith(SCALES)}
        for name, slots in found.items()
    }
    check_slots(wanted, {key: tuple(tensor.shape) for key, tensor in tensors.items()})
    given = _by_name(tensors)
    for name, parameter in trained.items():
        _fill(optimizer, parameter, given.get(name, {}))


def _trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter in optimizer.state}


def _slots(optimizer: Any, parameter: nn.Parameter) -> Flat:  # noqa: ANN401 - any of ours
    slots: Flat = optimizer.moments(parameter) if hasattr(optimizer, "moments") else optimizer.state[parameter]
    return {slot: value for slot, value in slots.items() if isinstance(value, torch.Tensor)}


def _by_name(tensors: Mapping[str, torch.Tensor]) -> dict[str, Flat]:
    result: dict[str, Flat] = {}
    for key, tensor in tensors.items():
        name, _, slot = key.rpartition("/")
        result.setdefault(name, {})[slot] = tensor
    return result


@torch.no_grad()
def _fill(optimizer: Any, parameter: nn.Parameter, given: Flat) -> None:  # noqa: ANN401 - any of ours
    state: Flat = optimizer.state[parameter]
    if not given:
        for value in state.values():
            value.zero_()
    elif hasattr(optimizer, "fill"):
        optimizer.fill(parameter, given)
    else:
        # Into the tensors that are there: a captured step goes on with them.
        for slot, value in state.items():
            value.copy_(given[slot])
