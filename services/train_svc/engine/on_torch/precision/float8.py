"""Large linear layers in float8 while training (Micikevicius et al. 2022, arXiv 2209.05433), by torchao."""

from torch import nn

from services.train_svc.engine.on_torch.model import Model
from services.train_svc.engine.plan import plan
from services.train_svc.engine.precision import Policy

MULTIPLE = 16
"""Of which both sizes of a matrix must be multiples for the card's units."""
LEAST = 1024
"""Smaller matrices lose more by finding scales than they win."""


def convert_to_float8(
    model: nn.Module, *, policy: Policy | None = None, least: int = LEAST, emulate: bool = False
) -> list[str]:
    """Let the large linear layers multiply in float8, scaled by each tensor's largest value; weights stay float32.

    Left as they are: layers that the model's plan calls sensitive and those whose outputs leave it (of a module that is
    not ours, its last linear layer), and layers that a policy takes out of the base precision. Call it before
    `apply_policy`, the optimizer and the compiler: the modules are exchanged, their parameters are not.

    Args:
        model: where layers are exchanged.
        policy: measured in bf16, which all else computes in.
        least: rows and columns that a matrix must have.
        emulate: compute in float32 what float8 would give, for devices without it; slow, for tests.

    Returns:
        The names of the layers in float8.
    """
    # Here, for it takes seconds and is an extra.
    from torchao.float8 import (  # type: ignore[import-untyped]  # noqa: PLC0415  # no types
        Float8LinearConfig,
        convert_to_float8_training,
    )

    kept = set(_sensitive(model))

    def wanted(module: nn.Module, name: str) -> bool:
        if not isinstance(module, nn.Linear) or name in kept:
            return False
        if policy is not None and policy.precision_of(name) != policy.base:
            return False
        return all(size >= least and size % MULTIPLE == 0 for size in module.weight.shape)

    names = [name for name, module in model.named_modules() if name and wanted(module, name)]
    # Padding, so that batches whose tokens are no multiple of 16 work too.
    config = Float8LinearConfig(emulate=emulate, pad_inner_dim=True)
    convert_to_float8_training(model, module_filter_fn=lambda _module, name: name in names, config=config)
    return names


def _sensitive(model: nn.Module) -> list[str]:
    if isinstance(model, Model):
        return plan(model.description).sensitive
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1:]
