"""What blocks and options are for, read off the strings beside their fields. Loads no engine."""

import ast
import dataclasses
import inspect
import re
import textwrap
import typing
from dataclasses import dataclass
from typing import Any

from services.common.errors import NotFoundError
from services.common.names import nearest
from services.train_svc.engine.architecture import KINDS
from services.train_svc.engine.architecture.block import plain
from services.train_svc.engine.reading import Checked, hints


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a block, or one option of a template."""

    name: str
    """Its key in YAML; options of options are joined by dots."""
    kind: str
    """Its annotation."""
    default: Any
    """As plain data; `required` where there is none."""
    text: str
    """What it is."""


def block_kinds() -> dict[str, str]:
    """Return every kind of block with the first line of what it does."""
    return {kind: (inspect.getdoc(KINDS[kind]) or "").split("\n")[0] for kind in sorted(KINDS)}


def block_class(kind: str) -> type:
    """Return the class of a kind of block.

    Raises:
        NotFoundError: there is none of that name.
    """
    if kind not in KINDS:
        raise NotFoundError(f"there is no block {kind!r}{nearest(kind, KINDS)}; known: {', '.join(sorted(KINDS))}")
    return KINDS[kind]


def fields(kind: type, prefix: str = "") -> list[Field]:
    """Return the fields of a block's class or of a template's options, with what stands beside each."""
    texts = {key: text for each in reversed(kind.__mro__) for key, text in _texts(each).items()}
    found: list[Field] = []
    for field, annotation in zip(dataclasses.fields(kind), hints(kind).values(), strict=True):
        name, inner = prefix + field.name, _nested(annotation)
        if inner is None or inner is not annotation:
            default = "required" if _is_required(field) else plain(_default(field))
            found.append(Field(name=name, kind=_word(annotation), default=default, text=texts.get(field.name, "")))
        if inner is not None:
            found += fields(inner, f"{name}.")
    return found


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:  # noqa: ANN401 - any field's
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _nested(annotation: Any) -> type | None:  # noqa: ANN401 - a type
    # The class of options within options, which may be left out where it is `X | None`.
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Checked):
            return kind
    return None


def _word(annotation: Any) -> str:  # noqa: ANN401 - a type
    if typing.get_origin(annotation) is typing.Literal:
        return " | ".join(map(repr, typing.get_args(annotation)))
    text = annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)
    return re.sub(r"\w+(\.\w+)*\.", "", text)


def _texts(kind: type) -> dict[str, str]:
    # The string after `name: type = value`, which Python itself drops.
    if not dataclasses.is_dataclass(kind):
        return {}
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            if isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                found[field.target.id] = inspect.cleandoc(after.value.value).replace("\n", " ")
    return found
