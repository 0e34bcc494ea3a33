"""A whole model as data, and its YAML form (`architecture.yaml`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from services.common.errors import InvalidError
from services.train_svc.engine.architecture.block import Block, Shape
from services.train_svc.engine.architecture.blocks import chain
from services.train_svc.engine.reading import check, fault, read, setting


@dataclass(frozen=True, kw_only=True)
class Description:
    """A model: what goes in and the blocks that it passes. Its shapes fit, or it could not be made."""

    name: str
    """For people; a template's description has the template's name."""
    input_shape: tuple[int, ...] = setting(least=1)
    """Sizes of one sample, the batch left out: [channels, height, width] of a picture."""
    body: tuple[Block, ...]
    """The blocks, one after the other."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: with one violation a fault.
        """
        check(self, "")
        if not self.body:
            raise fault("body", "is empty; a model needs at least one block")
        chain(self.body, self.input_shape, "body")

    @property
    def output_shape(self) -> Shape:
        """Sizes of one output, the batch left out."""
        return chain(self.body, self.input_shape, "body")

    def to_data(self) -> dict[str, Any]:
        """Return the description as mappings, lists and scalars."""
        body = [block.to_data() for block in self.body]
        return {"name": self.name, "input_shape": list(self.input_shape), "body": body}

    def __str__(self) -> str:
        """Return it as YAML."""
        return to_yaml(self)


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
    source = str(text) if isinstance(text, Path) else "the architecture"
    try:
        value = yaml.safe_load(text.read_text("utf-8") if isinstance(text, Path) else text)
    except yaml.YAMLError as error:
        raise InvalidError(f"{source} is not YAML: {error}", field="architecture") from error
    return read_description(value)
