"""What a model carries from step to step, by name, and what its stepping part looks at."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.train_svc.engine.architecture import Description, Node, State
from services.train_svc.engine.architecture.blocks.combine import Part
from services.train_svc.engine.context import Context
from services.train_svc.engine.reading import fault

MASK = "_mask"
"""Ends the name of the constant state that says which frames of a memory are real: `memory_mask` of `memory`."""


def stepping_node(description: Description, part: str = "") -> Node:
    """Return the node of a part; of the whole model where `part` is empty.

    Raises:
        InvalidError: it has no such part.
    """
    root = description.root
    if part and part not in root.children:
        raise fault("part", f"there is no part {part!r}; known: {', '.join(root.children)}")
    return root.children[part] if part else root


def states_of(node: Node) -> dict[str, State]:
    """Return what a block and all within it carry, by `<block>.<state>`."""
    return {f"{inner.name}.{name}": state for inner in node.walk() for name, state in inner.states.items()}


def state_specs(description: Description, part: str = "") -> dict[str, State]:
    """Return the carried tensors of a model, or of one of its parts, by `<block>.<state>`.

    Where some part of the model knows padding, `<memory>_mask` [time] is among them for each memory.

    Raises:
        InvalidError: it has no such part.
    """
    specs = states_of(stepping_node(description, part))
    known = any(isinstance(node.block, Part) and _is_padded(node.block) for node in description.root.walk())
    mask = State(shape=(None,), dtype="bool", constant=True)
    return specs | ({name + MASK: mask for name in memories(description, part)} if known else {})


def _is_padded(part: Part) -> bool:
    return bool(part.lengths or part.mask)


def memories(description: Description, part: str = "") -> list[str]:
    """Return the named values that the blocks of a part look at, such as an encoder's output.

    A block says so by its field `memory`; in each engine its `project` gives its constant states, in their order.
    """
    blocks = [node.block for node in stepping_node(description, part).walk()]
    return list(dict.fromkeys(name for block in blocks if (name := getattr(block, "memory", ""))))


def check_memory(description: Description, part: str, given: Iterable[str]) -> None:
    """Check that the memories of a part are given, with masks or without, and nothing else.

    Raises:
        InvalidError: one is missing or unknown.
    """
    names, got = memories(description, part), set(given)
    for name in names:
        if name not in got:
            raise fault(name, f"is not given, and {part or 'the model'} looks at it; pass what `encode` returns")
    for name in got - {*names, *(each + MASK for each in names)}:
        raise fault(name, f"is nothing that {part or 'the model'} looks at; known: {', '.join(names) or 'none'}")


def constants(specs: Mapping[str, State], block: str) -> list[str]:
    """Return the names of the constant states of the block that has this name."""
    return [name for name, spec in specs.items() if spec.constant and name.rpartition(".")[0] == block]


def given_out(description: Description, context: Context, part: str = "") -> list[str]:
    """Return the names of the outputs of a run; none: what flowed out of its end.

    A part gives those of the model's outputs that it kept itself, if it kept several: a decoder's frame and its stop.
    """
    names = [name for name in description.outputs if name in context.values]
    kept = [name for name in names if name in context.padding]
    return names if not part else kept if len(kept) > 1 else []


def padding_of(state: Mapping[str, Any]) -> dict[str, tuple[None, Any]]:
    """Return lengths and mask, by memory, that a state holds for a context's `padding`."""
    return {name.removesuffix(MASK): (None, tensor) for name, tensor in state.items() if "." not in name}
