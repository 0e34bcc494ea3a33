"""The list of templates. A new one is one file here, one line in `TEMPLATES` and one test."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from services.common.errors import NotFoundError
from services.common.names import nearest
from services.train_svc.engine.architecture import Description
from services.train_svc.engine.reading import fault, join, read
from services.train_svc.engine.templates import (
    bert,
    conformer,
    convnext,
    dynamicconv,
    efficientnet,
    emformer,
    ft_transformer,
    gpt2,
    llama,
    mlp,
    mobilenet_v3,
    modernbert,
    moe_decoder,
    patchtst,
    resnet,
    resnet_small,
    segformer,
    swin,
    t5,
    tacotron2,
    transformer,
    u2pp_conformer,
    vit,
    wav2vec2,
    whisper,
)
from services.train_svc.engine.templates.entry import Template

TEMPLATES: dict[str, Template] = {
    module.TEMPLATE.name: module.TEMPLATE
    for module in (
        bert,
        conformer,
        convnext,
        dynamicconv,
        efficientnet,
        emformer,
        ft_transformer,
        gpt2,
        llama,
        mlp,
        mobilenet_v3,
        modernbert,
        moe_decoder,
        patchtst,
        resnet,
        resnet_small,
        segformer,
        swin,
        t5,
        tacotron2,
        transformer,
        u2pp_conformer,
        vit,
        wav2vec2,
        whisper,
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
    wanted = _plain(name)
    found = next((each for each in TEMPLATES.values() if wanted in map(_plain, _names(each))), None)
    if found is None:
        known = ", ".join(sorted(TEMPLATES))
        raise NotFoundError(f"there is no template {name!r}{nearest(name, TEMPLATES)}; known: {known}")
    return found


def _names(entry: Template) -> tuple[str, ...]:
    return entry.name, entry.title, *entry.aliases


def _plain(name: str) -> str:
    # Papers write ResNet, U2++ and Tacotron 2; files write resnet, u2pp and tacotron2.
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "p"))


def describe(name: str, *, size: str = "", path: str = "", **overrides: Any) -> Description:  # noqa: ANN401
    """Return a template's description.

    Args:
        name: the template's name or title; case and punctuation do not matter.
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
    values = _merged(chosen.sizes.get(size, {}), overrides)
    return chosen.build(read(chosen.options, values, path or chosen.name))


def _merged(size: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    # An override of one option of `encoder` leaves the size's others as they are.
    both = {key: _merged(size[key], value) for key, value in overrides.items()
            if isinstance(value, Mapping) and isinstance(size.get(key), Mapping)}  # fmt: skip
    return {**size, **overrides, **both}


def template_call(value: Mapping[str, Any], path: str) -> tuple[str, dict[str, Any]]:
    """Return the template's name and the options of `{template: resnet, ...}` or `{name: ResNet, ...}`.

    Raises:
        InvalidError: it names no template.
    """
    options = dict(value)
    key = "template" if "template" in options else "name"
    try:
        return template(str(options.pop(key, ""))).name, options
    except NotFoundError as error:
        raise fault(join(path, key if key in value else "template"), error.message) from error


def option_names(name: str) -> list[str]:
    """Return the names of a template's options."""
    return [field.name for field in dataclasses.fields(template(name).options)]
