"""A whole model as data, and its YAML form (`architecture.yaml`)."""

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from services.common.errors import InvalidError
from services.common.names import nearest
from services.train_svc.engine.architecture.block import Block, chain, last_shape, plain
from services.train_svc.engine.architecture.blocks.combine import Sequential
from services.train_svc.engine.architecture.node import Node, Place, Shape
from services.train_svc.engine.reading import Checked, check, fault, read, setting

INPUT, OUTPUT = "input", "logits"
"""Names of the one input and the one output of a model that does not name them."""


@dataclass(frozen=True, kw_only=True)
class Input(Checked):
    """A tensor that goes into a model."""

    shape: tuple[int | str, ...] = setting(least=1)
    """Sizes of one sample, the batch left out; a word is a size that differs from call to call: `[time, 80]`."""
    dtype: Literal["float32", "int64", "bool"] = "float32"
    """Its type."""
    below: int = setting(0, least=0)
    """Values are below this: the vocabulary's size. 0: any."""
    optional: bool = False
    """It may be left out: a mask, when nothing is padded."""
    lengths_of: str = ""
    """It says how many frames of this other input are real; where it is left out, all are."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """A model: what goes in and the blocks that it passes. Its shapes fit, or it could not be made."""

    name: str
    """For people; a template's description has the template's name."""
    input_shape: tuple[int, ...] = setting((), least=1)
    """Short for one float32 input named `input` of this shape, the batch left out: [channels, height, width]."""
    inputs: dict[str, Input] = field(default_factory=dict)
    """What goes in, in the order of the call; the first flows into the body."""
    body: tuple[Block, ...] = ()
    """The blocks, one after the other."""
    outputs: tuple[str, ...] = ()
    """The named values that it gives; none: what the last block makes, named `logits`."""
    typical: dict[str, int] = field(default_factory=dict)
    """A usual number for each size that is a word, for the summary and for trying the model out."""

    def __post_init__(self) -> None:
        """Check every field and resolve the tree.

        Raises:
            InvalidError: with one violation a fault.
        """
        check(self, "")
        short = {INPUT: Input(shape=self.input_shape)} if self.input_shape else {}
        if not (short or self.inputs) or (short and self.inputs and self.inputs != short):
            raise fault("inputs", "give either `input_shape`, for one float32 input, or `inputs`")
        object.__setattr__(self, "inputs", short or self.inputs)
        if not self.body:
            raise fault("body", "is empty; a model needs at least one block")
        self._check_names()
        _ = self.root

    def _check_names(self) -> None:
        for name, given in self.inputs.items():
            if not name.isidentifier():
                raise fault(f"inputs.{name}", "may have letters, digits and '_' only; choose another name")
            if given.lengths_of and given.lengths_of not in self.inputs:
                known = f"{nearest(given.lengths_of, self.inputs)}; known: {', '.join(self.inputs)}"
                raise fault(f"inputs.{name}.lengths_of", f"there is no input {given.lengths_of!r}{known}")
        missing = self.dimensions - set(self.typical)
        if missing and self.typical:
            raise fault("typical", f"gives no number for {', '.join(sorted(missing))}")

    @property
    def dimensions(self) -> set[str]:
        """The sizes that differ from call to call."""
        return {size for given in self.inputs.values() for size in given.shape if isinstance(size, str)}

    @property
    def root(self) -> Node:
        """The resolved tree, with sizes that differ from call to call left open."""
        return self._open[0]

    @cached_property
    def _open(self) -> tuple[Node, dict[str, Shape]]:
        return self._resolved({})

    def resolve(self, sizes: dict[str, int]) -> Node:
        """Return the tree resolved with these numbers for the sizes that are words.

        Raises:
            InvalidError: a block cannot take what comes to it.
        """
        return self._resolved(sizes)[0]

    def _resolved(self, sizes: dict[str, int]) -> tuple[Node, dict[str, Shape]]:
        # The tree, and the outputs' shapes by name.
        shapes = {name: _shape(given, sizes) for name, given in self.inputs.items()}
        place = Place(path="", values=shapes)
        first = next(iter(shapes.values()))
        children = chain(self.body, first, place, "body")
        for name in self.outputs:
            dataclasses.replace(place, path="outputs").value(name)
        root = place.node(Sequential(body=self.body), first, last_shape(children, first), children=children)
        return root, {name: place.values[name] for name in self.outputs} or {OUTPUT: root.output_shape}

    @property
    def output_shapes(self) -> dict[str, Shape]:
        """The outputs by name: sizes of one sample, the batch left out."""
        return self._open[1]

    @property
    def output_shape(self) -> Shape:
        """Sizes of the first output, the batch left out."""
        return next(iter(self.output_shapes.values()))

    def to_data(self) -> dict[str, Any]:
        """Return the description as mappings, lists and scalars."""
        data: dict[str, Any] = {"name": self.name}
        if self.input_shape:
            data["input_shape"] = list(self.input_shape)
        else:
            data["inputs"] = {name: plain(given) for name, given in self.inputs.items()}
        if self.typical:
            data["typical"] = dict(self.typical)
        data["body"] = [block.to_data() for block in self.body]
        return data | ({"outputs": list(self.outputs)} if self.outputs else {})

    def __str__(self) -> str:
        """Return it as YAML."""
        return to_yaml(self)


def _shape(given: Input, sizes: dict[str, int]) -> Shape:
    return tuple(sizes.get(size) if isinstance(size, str) else size for size in given.shape)


def read_description(value: object, path: str = "") -> Description:
    """Return the description that plain data holds.

    Raises:
        InvalidError: with the path in the file, what it got, what it wanted, and the nearest valid name.
    """
    return read(Description, value, path)


def to_yaml(description: Description) -> str:
    """Return the description as YAML; `from_yaml` gives it back equal."""
    return yaml.safe_dump(description.to_data(), sort_keys=False, width=100, default_flow_style=None)


def from_yaml(text: str | Path) -> Description:
    """Return the description of a YAML text or file.

    Raises:
        InvalidError: it is no YAML, or no description.
    """
    return read_description(load_yaml(text))


def load_yaml(text: str | Path) -> Any:  # noqa: ANN401 - plain data
    """Return what a YAML text or file holds.

    Raises:
        InvalidError: it is no YAML.
    """
    source = str(text) if isinstance(text, Path) else "the architecture"
    try:
        return yaml.safe_load(text.read_text("utf-8") if isinstance(text, Path) else text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidError(f"{source} is not YAML: {error}", field="architecture") from error
