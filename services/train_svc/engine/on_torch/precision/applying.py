"""A policy put on a model, and taken off."""

from collections.abc import Iterator

from torch import nn

from services.common.errors import Violation
from services.common.names import nearest
from services.train_svc.engine.on_torch.precision.casting import DTYPES
from services.train_svc.engine.on_torch.precision.flows import names_of
from services.train_svc.engine.on_torch.precision.regions import Region, close_region, open_region
from services.train_svc.engine.precision import Format, Policy
from services.train_svc.engine.precision.policy import unmatched
from services.train_svc.engine.reading import invalid

SHELVES = (nn.ModuleList, nn.ModuleDict)
"""Modules that only hold others: nothing runs through them."""


def apply_policy(model: nn.Module, policy: Policy) -> int:
    """Let every module compute as a policy says, within torch's autocast in the policy's base; else nothing changes.

    A module with a precision of its own hands it to what is inside it only where the policy says the same of that: a
    float32 attention keeps its projections in the base precision. Names of parameters stay. A policy that was on the
    model before is taken off first.

    Args:
        model: on any device; not yet compiled.
        policy: of this model.

    Returns:
        How many operators differ from the base precision.

    Raises:
        InvalidError: the policy names a module that the model does not have.
    """
    names = {name for name, _ in model.named_modules(remove_duplicate=False)}
    _check(policy, names)
    lift_policy(model)
    _open(model, "", policy, policy.base, set())
    listed = {each.name for each in policy.operators} or {name for name, leaf in _leaves(model) if leaf}
    return sum(policy.precision_of(name) != policy.base for name in listed)


def lift_policy(model: nn.Module) -> None:
    """Take a policy off; a model without one stays as it is."""
    for module in model.modules():
        close_region(module)


def children_of(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that run directly inside a module, with their paths; those on shelves too."""
    for own, child in module.named_children():
        path = f"{name}.{own}" if name else own
        if isinstance(child, SHELVES):
            yield from children_of(child, path)
        else:
            yield path, child


def _open(module: nn.Module, name: str, policy: Policy, around: Format, seen: set[nn.Module]) -> None:
    if module in seen:
        return
    seen.add(module)
    own = policy.precision_of(name)
    # A block may read a value of the base precision past what surrounds it.
    if own != around or (own == "fp32" and names_of(module)):
        open_region(module, Region(dtype=DTYPES[own], gives_float32=around == "fp32"))
    for path, child in children_of(module, name):
        _open(child, path, policy, own, seen)


def _leaves(model: nn.Module) -> Iterator[tuple[str, bool]]:
    for name, module in model.named_modules():
        yield name, next(module.children(), None) is None


def _check(policy: Policy, names: set[str]) -> None:
    found = [
        Violation(
            field=f"policy.operators[{index}].name",
            message=f"the model has no module {each.name!r}{nearest(each.name, names)}; is it another model's?",
        )
        for index, each in enumerate(policy.operators)
        if each.name not in names
    ]
    found += unmatched(policy.force, names)
    if found:
        raise invalid(found)
