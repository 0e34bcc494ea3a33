"""The list of templates. A new one is one file here and one line in `TEMPLATES`."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.common.errors import NotFoundError
from services.common.names import nearest
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.reading import read
from services.train_svc.engine.templates import mlp, resnet_small


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


TEMPLATES = {
    entry.name: entry
    for entry in (
        Template(
            name="resnet_small",
            title="Residual network for small pictures",
            domain="vision",
            paper="He et al. 2016, arXiv 1512.03385",
            sizes=resnet_small.SIZES,
            options=resnet_small.ResnetSmall,
            build=resnet_small.build,
        ),
        Template(
            name="mlp",
            title="Multilayer perceptron",
            domain="tables",
            paper="",
            sizes=mlp.SIZES,
            options=mlp.Mlp,
            build=mlp.build,
        ),
    )
}


def templates() -> list[Template]:
    """Return all templates, by name."""
    return [TEMPLATES[name] for name in sorted(TEMPLATES)]


def template(name: str) -> Template:
    """Return one template.

    Raises:
        NotFoundError: there is none of that name.
    """
    if name not in TEMPLATES:
        known = ", ".join(sorted(TEMPLATES))
        raise NotFoundError(f"there is no template {name!r}{nearest(name, TEMPLATES)}; known: {known}")
    return TEMPLATES[name]


def describe(name: str, *, size: str = "", path: str = "", **overrides: Any) -> Description:  # noqa: ANN401
    """Return a template's description.

    Args:
        name: the template's name.
        size: one of its standard sizes; empty: its defaults.
        path: begins the field paths of errors, such as `train.model`; empty: the template's name.
        overrides: options that differ from those of the size.

    Raises:
        NotFoundError: there is no such template or size.
        InvalidError: an option is unknown or out of bounds, or the shapes do not fit.
    """
    chosen = template(name)
    if size and size not in chosen.sizes:
        known = ", ".join(chosen.sizes)
        raise NotFoundError(f"{name} has no size {size!r}{nearest(size, chosen.sizes)}; known: {known}")
    values = {**chosen.sizes.get(size, {}), **overrides}
    return chosen.build(read(chosen.options, values, path or name))


def option_names(name: str) -> list[str]:
    """Return the names of a template's options."""
    return [field.name for field in dataclasses.fields(template(name).options)]
