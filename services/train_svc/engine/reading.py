"""Plain data (YAML, JSON) into frozen dataclasses, with every fault named at once.

A class is read by its annotations. `setting` gives a field its bounds; the same check runs for data and for
values given in Python, so a spec is valid once it exists.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from services.common.errors import InvalidError, Violation
from services.common.names import nearest

T = TypeVar("T")

TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
MISSING = object()


def setting(
    default: Any = MISSING,  # noqa: ANN401 - any field's default
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:  # noqa: ANN401 - as dataclasses.field
    """Return a dataclass field whose value must lie within the bounds; without `default` it is required."""
    bounds = {"least": least, "most": most, "above": above, "below": below}
    metadata = {"bounds": {key: value for key, value in bounds.items() if value is not None}}
    return (
        dataclasses.field(metadata=metadata)
        if default is MISSING
        else dataclasses.field(default=default, metadata=metadata)
    )


def read(kind: type[T], value: object, path: str) -> T:
    """Return `value` as a `kind`.

    Args:
        kind: a dataclass.
        value: mappings, lists and scalars, as from YAML.
        path: where the value stands, such as `train`; begins the field paths of errors.

    Raises:
        InvalidError: with one violation a fault, all of them.
    """
    found: list[Violation] = []
    result = read_value(kind, value, path, found)
    if found:
        raise invalid(found)
    return typing.cast("T", result)


def invalid(found: list[Violation]) -> InvalidError:
    """Return the error that names all of `found`."""
    return InvalidError("; ".join(f"{fault.field}: {fault.message}" for fault in found), violations=found)


def fault(path: str, message: str) -> InvalidError:
    """Return the error of one fault at `path`."""
    return invalid([Violation(field=path, message=message)])


def check(instance: Any, path: str) -> None:  # noqa: ANN401 - any dataclass instance
    """Check the fields of a dataclass that was built in Python, from its `__post_init__`."""
    found: list[Violation] = []
    for name, kind in hints(type(instance)).items():
        value = read_value(kind, getattr(instance, name), join(path, name), found)
        object.__setattr__(instance, name, value)
    _check_bounds(type(instance), vars(instance), path, found)
    if found:
        raise invalid(found)


class Checked:
    """A dataclass of settings that checks its fields once it is made."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            InvalidError: with one violation a fault.
        """
        check(self, "")


class Named(Checked):
    """Settings with a `name`, which alone may stand for them: `adamw` for `{name: adamw}`."""

    @classmethod
    def from_data(cls, value: object, path: str, found: list[Violation]) -> Any:  # noqa: ANN401 - itself, or None
        """Return the settings that a name or a mapping gives, or note in `found` why there are none."""
        return read_fields(cls, {"name": value} if isinstance(value, str) else value, path, found)


def hints(kind: type) -> dict[str, Any]:
    """Return the annotation of each field of a dataclass."""
    resolved = typing.get_type_hints(kind)
    return {field.name: resolved[field.name] for field in dataclasses.fields(kind)}


def join(path: str, name: str) -> str:
    """Return the path of `name` within `path`."""
    return f"{path}.{name}" if path else name


def read_value(kind: Any, value: Any, path: str, found: list[Violation]) -> Any:  # noqa: ANN401 - any annotation
    """Return `value` as the annotation `kind` says, or note in `found` why it is not."""
    if hasattr(kind, "from_data"):
        return value if isinstance(value, kind) else kind.from_data(value, path, found)
    if dataclasses.is_dataclass(kind):
        return read_fields(typing.cast("type", kind), value, path, found)
    return _read_annotation(kind, value, path, found)


def _read_annotation(kind: Any, value: Any, path: str, found: list[Violation]) -> Any:  # noqa: ANN401
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return _read_choice(arguments, value, path, found)
    if origin is types.UnionType:
        return _read_union(arguments, value, path, found)
    if origin is tuple:
        return _read_items(arguments[0], value, path, found)
    if origin is dict and arguments[1] is not Any:
        given = _read_mapping(value, path, found)
        return {key: read_value(arguments[1], item, join(path, str(key)), found) for key, item in given.items()}
    if kind is dict or origin is dict:
        return _read_mapping(value, path, found)
    return _read_scalar(kind, value, path, found)


def read_fields(kind: type, value: Any, path: str, found: list[Violation]) -> Any:  # noqa: ANN401
    """Return the mapping `value` as the dataclass `kind`, or note in `found` why it is not."""
    if isinstance(value, kind):
        return value
    before = len(found)
    given = _read_mapping(value, path, found)
    annotations = hints(kind)
    for key in given:
        if key not in annotations:
            message = f"unknown key {key!r}{nearest(str(key), annotations)}; known: {', '.join(annotations)}"
            found.append(Violation(field=join(path, str(key)), message=message))
    known = {
        name: read_value(annotations[name], given[name], join(path, name), found)
        for name in annotations
        if name in given
    }
    if len(found) == before or given:
        _check_missing(kind, given, path, found)
    _check_bounds(kind, known, path, found)
    if len(found) > before:
        return None
    try:
        return kind(**known)
    except InvalidError as error:
        found += [Violation(field=join(path, fault.field), message=fault.message) for fault in error.violations]
        return None


def _check_missing(kind: type, given: Mapping[str, Any], path: str, found: list[Violation]) -> None:
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in given:
            found.append(Violation(field=join(path, field.name), message="is required and is not given"))


def _check_bounds(kind: type, values: Mapping[str, Any], path: str, found: list[Violation]) -> None:
    for field in dataclasses.fields(kind):
        value = values.get(field.name)
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, int | float) and not isinstance(number, bool):
                _check_number(number, field.metadata.get("bounds", {}), join(path, field.name), found)


def _check_number(number: float, bounds: Mapping[str, float], path: str, found: list[Violation]) -> None:
    holds = {
        "least": lambda bound: number >= bound,
        "most": lambda bound: number <= bound,
        "above": lambda bound: number > bound,
        "below": lambda bound: number < bound,
    }
    words = {"least": "at least", "most": "at most", "above": "above", "below": "below"}
    if not all(holds[key](bound) for key, bound in bounds.items()):
        wanted = " and ".join(f"{words[key]} {bound:g}" for key, bound in bounds.items())
        found.append(Violation(field=path, message=f"got {number!r}, wanted {wanted}"))


def _read_union(kinds: tuple[Any, ...], value: Any, path: str, found: list[Violation]) -> Any:  # noqa: ANN401
    if value is None and types.NoneType in kinds:
        return None
    inner = [kind for kind in kinds if kind is not types.NoneType]
    fitting = [kind for kind in inner if isinstance(kind, type) and type(value) is kind]
    return read_value((fitting or inner)[0], value, path, found)


def _read_choice(choices: tuple[Any, ...], value: Any, path: str, found: list[Violation]) -> Any:  # noqa: ANN401
    if value not in choices:
        wanted = ", ".join(repr(choice) for choice in choices)
        hint = nearest(str(value), [str(choice) for choice in choices])
        found.append(Violation(field=path, message=f"got {value!r}, wanted one of {wanted}{hint}"))
    return value


def _read_items(kind: Any, value: Any, path: str, found: list[Violation]) -> tuple[Any, ...]:  # noqa: ANN401
    if not isinstance(value, list | tuple):
        found.append(Violation(field=path, message=f"got {value!r}, wanted a list"))
        return ()
    return tuple(read_value(kind, item, f"{path}[{index}]", found) for index, item in enumerate(value))


def _read_mapping(value: Any, path: str, found: list[Violation]) -> dict[str, Any]:  # noqa: ANN401
    if isinstance(value, Mapping):
        return dict(value)
    found.append(Violation(field=path, message=f"got {value!r}, wanted a mapping of keys to values"))
    return {}


def _read_scalar(kind: type, value: Any, path: str, found: list[Violation]) -> Any:  # noqa: ANN401
    if kind is float:
        value = _as_float(value)
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits or (kind is float and not math.isfinite(value)):
        found.append(Violation(field=path, message=f"got {value!r}, wanted {TYPE_NAMES.get(kind, kind.__name__)}"))
    return value


def _as_float(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # YAML 1.1 reads 3e-3, which has no dot, as text.
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
