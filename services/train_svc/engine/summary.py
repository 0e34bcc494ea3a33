"""A description as a table of blocks, shapes and costs; and what differs between two. Loads no engine."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.train_svc.engine.architecture import Description, Node, Shape, to_yaml
from services.train_svc.engine.architecture.blocks.combine import Repeat
from services.train_svc.engine.reading import fault


@dataclass(frozen=True, kw_only=True)
class Row:
    """One block."""

    depth: int
    """How many blocks it is inside of."""
    name: str
    """Its part of the parameters' names; for what is repeated, of the first item."""
    kind: str
    """What it is; with `x 12` where it is repeated."""
    output: Shape
    """Sizes of one sample; None where it differs from call to call."""
    parameters: int
    """Trainable numbers, of all repetitions."""
    multiply_adds: int
    """Of one sample, of all repetitions."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A whole model."""

    name: str
    """Of the description."""
    sizes: dict[str, int]
    """The numbers taken for sizes that differ from call to call."""
    inputs: dict[str, Shape]
    """Sizes of one sample of each input."""
    rows: list[Row]
    """Its blocks, in the order in which they run."""
    parameters: int
    """Trainable numbers."""
    buffers: int
    """Numbers that are not trained, such as running means."""
    multiply_adds: int
    """Of one sample, at `sizes`."""


def summarize(description: Description, sizes: Mapping[str, int] | None = None) -> Summary:
    """Return the table of a description.

    Args:
        description: what to look at.
        sizes: numbers for sizes that differ from call to call; those left out take their typical one.

    Raises:
        InvalidError: a block cannot take these sizes.
    """
    for name in (sizes or {}).keys() - description.dimensions:
        known = ", ".join(sorted(description.dimensions)) or "none: all its sizes are fixed"
        raise fault("sizes", f"{description.name} has no size {name!r}; known: {known}")
    numbers = {**description.typical, **(sizes or {})}
    root = description.resolve(numbers)
    inputs = {
        name: tuple(numbers.get(size) if isinstance(size, str) else size for size in given.shape)
        for name, given in description.inputs.items()
    }
    return Summary(
        name=description.name,
        sizes=numbers,
        inputs=inputs,
        rows=[row for child in root.children.items() for row in _rows(*child, 0, 1)],
        parameters=root.parameter_count,
        buffers=sum(p.count for node in root.walk() for p in node.parameters.values() if not p.trainable),
        multiply_adds=root.total_multiply_adds,
    )


def _rows(name: str, node: Node, depth: int, times: int) -> Iterator[Row]:
    repeats = node.block.times if isinstance(node.block, Repeat) and _alike(node) else 1
    yield Row(
        depth=depth,
        name=name,
        kind=f"{node.block.kind} x {repeats}" if repeats > 1 else node.block.kind,
        output=node.output_shape,
        parameters=node.parameter_count * times,
        multiply_adds=node.total_multiply_adds * times,
    )
    for inner, child in _shown(node).items():
        yield from _rows(inner, child, depth + 1, times * repeats)


def _shown(node: Node) -> Mapping[str, Node]:
    # Where the items of a repeat are alike, the first stands for all.
    alike = isinstance(node.block, Repeat) and _alike(node)
    children = node.children["0"].children if alike else node.children
    # The one branch of a residual says nothing that its parent does not.
    return children["body"].children if list(children) == ["body"] else children


def _alike(repeat: Node) -> bool:
    items = list(repeat.children.values())
    return all(item.block == items[0].block for item in items)


def differences(first: Description, second: Description) -> list[str]:
    """Return the lines in which the YAML of two descriptions differs, as `diff -u` shows them."""
    lines = difflib.unified_diff(
        to_yaml(first).splitlines(), to_yaml(second).splitlines(), first.name, second.name, lineterm="", n=2
    )
    return list(lines)
