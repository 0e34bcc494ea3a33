"""What later stages need to know of a model, read off its tree: how to shard it, cut it, recompute it, and what not to
round. Loads no engine."""

from dataclasses import dataclass
from typing import Literal

from services.train_svc.engine.architecture import Description, Node
from services.train_svc.engine.architecture.blocks.combine import Part, Repeat
from services.train_svc.engine.architecture.blocks.linear import Linear

ROWS = ("part", "sequential", "streaming")
"""Blocks through which one tensor flows from block to block."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Names of blocks, each with what may be done to it."""

    tensor_parallel: dict[str, Literal["column", "row"]]
    """Linear layers that split over devices: by outputs, or by inputs with a sum after."""
    units: list[str]
    """What activation recomputation and sharding wrap, in the order in which they run: the items of repeats, and the
    blocks of a row that hold blocks with parameters. A pipeline may be cut before each; values that are kept under
    names, such as an encoder's output, must be passed along then."""
    sensitive: list[str]
    """Blocks that lose much in few bits: norms, embeddings, and the linear layers whose outputs leave the model."""


def plan(description: Description) -> Plan:
    """Return the plan of a description."""
    nodes = list(description.root.walk())
    return Plan(
        tensor_parallel={
            node.name: node.block.split for node in nodes if isinstance(node.block, Linear) and node.block.split
        },
        units=[node.name for node in _units(description.root)],
        sensitive=[node.name for node in nodes if node.block.sensitive] + _outlets(description),
    )


def _units(node: Node) -> list[Node]:
    found: list[Node] = []
    for child in node.children.values():
        if isinstance(child.block, Repeat):
            found += child.children.values()
        elif child.block.kind in ROWS and any(inner.children for inner in child.children.values()):
            found += _units(child)
        elif child.children and child.parameter_count:
            found.append(child)
    return found


def _outlets(description: Description) -> list[str]:
    # The last linear layer of the model, and of every part whose output leaves it.
    parts = [
        node
        for node in description.root.children.values()
        if isinstance(node.block, Part) and node.block.output in description.outputs
    ]
    ends = parts or [description.root]
    layers = [[node.name for node in end.walk() if isinstance(node.block, Linear)] for end in ends]
    return [names[-1] for names in layers if names and _ends_in(description, names[-1])]


def _ends_in(description: Description, name: str) -> bool:
    # A linear layer inside a repeat is no outlet, even where it is the last one.
    return not any(
        isinstance(node.block, Repeat) and name.startswith(f"{node.name}.") for node in description.root.walk()
    )
