"""What every block of an architecture has: a kind, a name, a rule that resolves it, and a form as plain data."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from services.common.errors import Violation
from services.common.names import nearest
from services.train_svc.engine.architecture.node import Node, Place, Shape
from services.train_svc.engine.reading import check, join, read_fields

KINDS: dict[str, type["Block"]] = {}
"""Every kind of block by the name it has in YAML."""
RESERVED = frozenset("add_module apply block bfloat16 call compile cpu cuda double eval float forward half modules "
                     "parameters path register_buffer requires_grad_ share_memory state_dict to train training type "
                     "xpu zero_grad".split())  # fmt: skip
"""Names that torch's modules have for themselves."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """One layer, or a group of layers. Subclasses name their `kind` and are known from then on."""

    kind: ClassVar[str] = ""
    sensitive: ClassVar[bool] = False
    """True: loses much in few bits; precision and compression policies leave it alone unless told."""

    name: str = ""
    """Its part of the parameters' names; empty: its kind, numbered from the second on."""

    def __init_subclass__(cls, **keywords: Any) -> None:  # noqa: ANN401 - as object's
        """Make the kind known."""
        super().__init_subclass__(**keywords)
        if cls.kind:
            KINDS[cls.kind] = cls

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: with one violation a fault.
        """
        check(self, self.kind)

    def resolve(self, shape: Shape, at: Place) -> Node:
        """Return the node for an input of `shape`: its output shape, children, parameters, states and cost.

        Raises:
            InvalidError: it cannot take that shape; the path says where it stands.
        """
        raise NotImplementedError(f"{at.path}: {self.kind} has no rule for {shape}")

    def to_data(self) -> Any:  # noqa: ANN401 - plain data
        """Return its YAML form: its kind alone, or `{kind: {field: value}}` with what differs from the defaults."""
        fields = differing_fields(self)
        return {self.kind: fields} if fields else self.kind

    @classmethod
    def from_data(cls, value: object, path: str, found: list[Violation]) -> "Block | None":
        """Return the block of a YAML form, or note in `found` what is wrong with it."""
        kind, fields = _kind_and_fields(value)
        if kind is None:
            message = f"got {value!r}, wanted one block such as 'relu' or {{conv2d: {{out_channels: 32}}}}"
            found.append(Violation(field=path, message=message))
            return None
        if kind not in KINDS:
            message = f"unknown block {kind!r}{nearest(kind, KINDS)}; known: {', '.join(sorted(KINDS))}"
            found.append(Violation(field=path, message=message))
            return None
        block: Block | None = read_fields(KINDS[kind], fields, join(path, kind), found)
        return block


def _kind_and_fields(value: object) -> tuple[str | None, Mapping[str, Any]]:
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping) and len(value) == 1:
        kind, fields = next(iter(value.items()))
        return str(kind), {} if fields is None else fields
    return None, {}


def differing_fields(instance: Any) -> dict[str, Any]:  # noqa: ANN401 - any dataclass instance
    """Return the fields of a dataclass that differ from their defaults, as plain data."""
    return {
        field.name: plain(getattr(instance, field.name))
        for field in dataclasses.fields(instance)
        if getattr(instance, field.name) != field.default
    }


def plain(value: Any) -> Any:  # noqa: ANN401
    """Return a field's value as mappings, lists and scalars."""
    if hasattr(value, "to_data"):
        return value.to_data()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return differing_fields(value) if dataclasses.is_dataclass(value) else value


def named(blocks: tuple[Block, ...], at: Place, field: str) -> Iterator[tuple[str, Block]]:
    """Yield the blocks with their names, which are unique among them.

    Raises:
        InvalidError: two blocks have one name, or a name cannot be part of a parameter's.
    """
    counts: Counter[str] = Counter()
    taken: set[str] = set()
    for index, block in enumerate(blocks):
        counts[block.kind] += 1
        name = block.name or (block.kind if counts[block.kind] == 1 else f"{block.kind}_{counts[block.kind]}")
        reason = _name_fault(name, taken)
        if reason:
            raise at.inside(f"{field}[{index}].name").fault(f"{name!r} {reason}; choose another name")
        taken.add(name)
        yield name, block


def _name_fault(name: str, taken: set[str]) -> str:
    if name in taken:
        return "is taken by another block beside it"
    if name in RESERVED:
        return "is a name that modules have for themselves"
    return "" if name.isidentifier() else "may have letters, digits and '_' only"


def chain(blocks: tuple[Block, ...], shape: Shape, at: Place, field: str) -> dict[str, Node]:
    """Return the nodes of `blocks`, which run one after the other; `field` is where the list stands."""
    nodes: dict[str, Node] = {}
    for index, (name, block) in enumerate(named(blocks, at, field)):
        nodes[name] = at.inside(f"{field}[{index}].{block.kind}", name).resolve(block, shape)
        shape = nodes[name].output_shape
    return nodes


def last_shape(nodes: dict[str, Node], shape: Shape) -> Shape:
    """Return what the last of `nodes` makes, or `shape` where there is none."""
    return list(nodes.values())[-1].output_shape if nodes else shape
