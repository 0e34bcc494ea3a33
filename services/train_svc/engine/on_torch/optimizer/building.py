"""The optimizer of a spec: torch's own where its kernels are fused, ours where torch's would wait for the device."""

from typing import Any

import torch
from torch import nn

from services.common.errors import InvalidError
from services.train_svc.engine.on_torch.optimizer.adafactor import Adafactor
from services.train_svc.engine.on_torch.optimizer.lion import Lion
from services.train_svc.engine.slots import slot_shapes
from services.train_svc.engine.spec import OptimizerSpec

Groups = list[dict[str, Any]]
EIGHT_BIT_DEVICES = ("cuda", "cpu")


def build_optimizer(model: nn.Module, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """Return the optimizer; matrices and kernels decay, vectors do not.

    Parameters that several modules share count once, frozen ones not at all. All state is there from the start, as
    zeros, so that the first step is like any other: it can be captured in a CUDA graph, and left out.

    Args:
        model: any module, on its device.
        spec: which optimizer, and its settings.

    Raises:
        InvalidError: no parameter is trainable, or the optimizer does not run here.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        message = "no parameter of the model is trainable; set requires_grad on those that shall learn"
        raise InvalidError(message, field="model")
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if spec.name == "adamw8bit":
        return _eight_bit(groups, spec, parameters[0].device)
    optimizer = _whole(groups, spec, parameters[0].device)
    for parameter in parameters:
        optimizer.state[parameter] |= _zeros(parameter, spec)
    return optimizer


def _whole(groups: Groups, spec: OptimizerSpec, device: torch.device) -> torch.optim.Optimizer:
    if spec.name == "lion":
        return Lion(groups, lr=torch.tensor(spec.lr, device=device), betas=spec.betas)
    if spec.name == "adafactor":
        return Adafactor(groups, lr=torch.tensor(spec.lr, device=device))
    # Fused on the CPU too: a third to a sixth of the time of torch's loop there, and it heeds `found_inf`.
    captured = device.type == "cuda"
    rate = torch.tensor(spec.lr, device=device) if captured else spec.lr
    if spec.name == "sgd":
        nesterov = spec.momentum > 0
        return torch.optim.SGD(groups, lr=rate, momentum=spec.momentum, nesterov=nesterov, fused=True)
    return torch.optim.AdamW(groups, lr=rate, betas=spec.betas, eps=spec.eps, fused=True, capturable=captured)


def _eight_bit(groups: Groups, spec: OptimizerSpec, device: torch.device) -> torch.optim.Optimizer:
    try:
        # Only here, since it imports torchao, which takes seconds and need not be there.
        from services.train_svc.engine.on_torch.optimizer.adamw8bit import AdamW8bit  # noqa: PLC0415
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        message = f"adamw8bit needs torchao, which cannot be loaded ({error}); install torchao, or use adamw"
        raise InvalidError(message, field="optimizer") from error
    if device.type not in EIGHT_BIT_DEVICES:
        message = f"adamw8bit runs on {' and '.join(EIGHT_BIT_DEVICES)}, not on {device.type}; use adamw"
        raise InvalidError(message, field="optimizer")
    return AdamW8bit(groups, lr=torch.tensor(spec.lr, device=device), betas=spec.betas, eps=spec.eps)


def _zeros(parameter: nn.Parameter, spec: OptimizerSpec) -> dict[str, torch.Tensor]:
    shape = tuple(parameter.shape)
    return {
        # Of the parameter's own strides where it has its shape: fused kernels walk both alike.
        slot: torch.zeros_like(parameter, requires_grad=False)
        if size == shape and slot != "step"
        else torch.zeros(size, device=parameter.device)
        for slot, size in slot_shapes(spec, shape).items()
    }


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` from now on; a captured step sees it too."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def apply(optimizer: torch.optim.Optimizer, skip: torch.Tensor | None = None) -> None:
    """Make one step from the gradients in the parameters. Nothing waits for the device.

    Gradients must lie in memory as their parameters do, which autograd sees to: fused kernels on the CPU walk both
    alike and do not look.

    Args:
        optimizer: what `build_optimizer` made.
        skip: a scalar on the device; where it is above 0, weights, moments and counters stay as they are, whatever the
            gradients hold. None: the step is made.
    """
    # The name is torch's own, which its fused kernels read; they compare with 1.
    optimizer.found_inf = None if skip is None else (skip > 0).float()  # type: ignore[attr-defined]  # theirs
    optimizer.step()
    optimizer.found_inf = None  # type: ignore[attr-defined]  # as above
