"""What a template is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.train_svc.engine.architecture import Description
from services.train_svc.engine.keymap import Rule


@dataclass(frozen=True, kw_only=True)
class Template:
    """A family of architectures with its options."""

    name: str
    title: str
    domain: str
    """vision, speech, language, sequences or tables."""
    paper: str
    """Where it is published; empty for folklore."""
    sizes: Mapping[str, Mapping[str, Any]]
    """Standard sizes: name to the options that make it."""
    options: type
    """The dataclass of its options; its fields are what may be overridden."""
    build: Callable[[Any], Description]
    """Turns the options into a description."""
    aliases: tuple[str, ...] = ()
    """Other names by which people ask for it."""
    huggingface: tuple[Rule, ...] = ()
    """How the tensors of Hugging Face's implementation are called here; none: it has no such model."""
