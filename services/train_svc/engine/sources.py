"""Where a description may come from: a YAML file, or a template by its name. Loads no engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.common.errors import NotFoundError
from services.train_svc.engine.architecture import Description, read_description
from services.train_svc.engine.architecture.description import load_yaml
from services.train_svc.engine.reading import fault
from services.train_svc.engine.templates import describe
from services.train_svc.engine.templates.registry import template_call

Source = Description | str | Path


def as_description(source: Source) -> Description:
    """Return a description, or read that of a YAML file: see `read_model`.

    Raises:
        InvalidError: there is no such file, it is no YAML, or what it holds is wrong.
    """
    if isinstance(source, Description):
        return source
    path = Path(source)
    if not path.is_file():
        raise fault("source", f"there is no file {str(source)!r}; give a description, or the path of a YAML file")
    return read_model(load_yaml(path))


def read_model(value: Any, path: str = "") -> Description:  # noqa: ANN401 - plain data
    """Return the description of plain data: written out, or a template's name with its options.

    Args:
        value: `{name, inputs, body}`; `{name: Conformer, encoder: {...}}`; or either under the key `model`.
        path: begins the field paths of errors.

    Raises:
        InvalidError: with the path in the file, what it got, what it wanted, and the nearest valid name.
    """
    if isinstance(value, Mapping) and "model" in value and "body" not in value:
        return read_model(value["model"], "model")
    if isinstance(value, str):
        value = {"template": value}
    if not isinstance(value, Mapping) or "body" in value:
        return read_description(value, path)
    name, options = template_call(value, path)
    size = str(options.pop("size", ""))
    try:
        return describe(name, size=size, path=path, **options)
    except NotFoundError as error:
        raise fault(f"{path}.size" if path else "size", error.message) from error


def find(text: str) -> Description:
    """Return the description that a person means by NAME, NAME:SIZE or the path of a YAML file.

    Raises:
        NotFoundError: there is no such template, size or file.
        InvalidError: what the file holds is wrong.
    """
    if Path(text).is_file():
        return as_description(text)
    if Path(text).suffix in (".yaml", ".yml"):
        raise NotFoundError(f"there is no file {text!r}")
    name, _, size = text.partition(":")
    return describe(name, size=size)
