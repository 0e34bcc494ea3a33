"""What every block of an architecture has: a kind, a name, a shape rule, and a form as plain data."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from services.common.errors import Violation
from services.common.names import nearest
from services.train_svc.engine.reading import check, fault, join, read_fields

Shape = tuple[int, ...]
"""Sizes of one sample, the batch left out: (channels, height, width) of a picture, (features,) of a vector."""

KINDS: dict[str, type["Block"]] = {}
"""Every kind of block by the name it has in YAML."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """One layer, or a group of layers. Subclasses name their `kind` and are known from then on."""

    kind: ClassVar[str] = ""

    name: str = ""
    """Its part of the parameters' names; empty: its kind, numbered from the second on."""

    def __init_subclass__(cls, **keywords: Any) -> None:  # noqa: ANN401 - as object's
        """Make the kind known."""
        super().__init_subclass__(**keywords)
        KINDS[cls.kind] = cls

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: with one violation a fault.
        """
        check(self, self.kind)

    def output_shape(self, shape: Shape, path: str) -> Shape:
        """Return the shape it makes of an input of `shape`.

        Raises:
            InvalidError: it cannot take that shape; `path` says where it stands.
        """
        raise NotImplementedError(f"{path}: {self.kind} has no shape rule for {shape}")

    def to_data(self) -> Any:  # noqa: ANN401 - plain data
        """Return its YAML form: its kind alone, or `{kind: {field: value}}` with what differs from the defaults."""
        fields = {
            field.name: _plain(getattr(self, field.name))
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
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


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, tuple):
        return [item.to_data() if isinstance(item, Block) else item for item in value]
    return value


def named(blocks: tuple[Block, ...], path: str) -> Iterator[tuple[str, Block]]:
    """Yield the blocks with their names, which are unique among them.

    Raises:
        InvalidError: two blocks have one name, or a name cannot be part of a parameter's.
    """
    counts: Counter[str] = Counter()
    taken: set[str] = set()
    for index, block in enumerate(blocks):
        counts[block.kind] += 1
        name = block.name or (block.kind if counts[block.kind] == 1 else f"{block.kind}_{counts[block.kind]}")
        if name in taken or not name.isidentifier():
            reason = "is taken by another block beside it" if name in taken else "may have letters, digits and '_' only"
            raise fault(f"{path}[{index}].name", f"{name!r} {reason}; choose another name")
        taken.add(name)
        yield name, block
