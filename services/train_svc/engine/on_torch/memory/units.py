"""Which modules of a model are recomputed: its plan's units, or what a user's own module repeats."""

from collections import defaultdict

from torch import nn

from services.train_svc.engine.on_torch.model import Model
from services.train_svc.engine.plan import plan


def units_of(model: nn.Module) -> list[str]:
    """Return the names of the modules whose activations may be recomputed, in the order in which they run.

    Args:
        model: what `build` made, or any module.
    """
    if isinstance(model, Model):
        return plan(model.description).units
    return repeated_blocks(model)


def repeated_blocks(model: nn.Module) -> list[str]:
    """Return the names of the blocks that make up most of a module: siblings of one class that hold modules.

    Of all classes that repeat so, those that hold more than half as many parameters as the largest count, and of them
    the class with the most blocks: the layers of an encoder, not its stages, nor the heads within.
    """
    found: dict[type[nn.Module], list[str]] = defaultdict(list)
    for prefix, parent in model.named_modules():
        for kind, names in _siblings(parent).items():
            found[kind] += [f"{prefix}.{name}" if prefix else name for name in names]
    outer = {kind: _outermost(names) for kind, names in found.items()}
    sizes = {kind: sum(_count(model.get_submodule(name)) for name in names) for kind, names in outer.items()}
    large = [kind for kind, size in sizes.items() if size > max(sizes.values()) / 2]
    return outer[max(large, key=lambda kind: len(outer[kind]))] if large else []


def _siblings(parent: nn.Module) -> dict[type[nn.Module], list[str]]:
    # Children of a class that several have; a leaf keeps its input, so that recomputing it saves nothing.
    kinds: dict[type[nn.Module], list[str]] = defaultdict(list)
    for name, child in parent.named_children():
        if next(child.children(), None) is not None and not isinstance(child, nn.ModuleList | nn.ModuleDict):
            kinds[type(child)].append(name)
    return {kind: names for kind, names in kinds.items() if len(names) > 1}


def _outermost(names: list[str]) -> list[str]:
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
