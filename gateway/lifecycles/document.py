"""Documents that people write: YAML or JSON to plain values that remember where they stand.

Reads YAML 1.2's core types (`1e-3` is a number, `on` is a word), never a tag's
object, and gives every fault of the text its line and column.
"""

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from services.common.errors import InvalidError, Violation

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 20_000
"""Values in a document, those behind aliases counted at each use: what stops a YAML bomb."""

Path = tuple[str | int, ...]

INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Where a value stands; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, kw_only=True)
class LocatedViolation(Violation):
    """A fault with its place in the text; 0 where the text has no lines of its own."""

    line: int = 0
    column: int = 0


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed document."""

    value: Any
    marks: dict[Path, Mark] = field(default_factory=dict)

    def violation(self, path: Path, message: str) -> LocatedViolation:
        """Return a fault at `path`, or at the nearest enclosing value that stands in the text."""
        mark = next((self.marks[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.marks), None)
        place = (mark.line, mark.column) if mark else (0, 0)
        return LocatedViolation(field=path_text(path), message=message, line=place[0], column=place[1])


def path_text(path: Path) -> str:
    """Return `compress.variants[1].name` for its parts."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def invalid(violations: list[LocatedViolation], what: str = "the document") -> InvalidError:
    """Return one error that lists every fault with its place."""
    found = sorted(violations, key=lambda one: (one.line, one.column))
    lines = []
    for one in found:
        place = f"line {one.line}, column {one.column}: " if one.line else ""
        lines.append(f"{place}{one.field}: {one.message}" if one.field else f"{place}{one.message}")
    count = "1 fault" if len(found) == 1 else f"{len(found)} faults"
    return InvalidError(f"{what} has {count}: " + "; ".join(lines), violations=list(found))


def parse_yaml(text: str | bytes) -> Document:
    """Return the document in `text`.

    Raises:
        InvalidError: it is no YAML, holds a repeated key, a tag, or more than is allowed; with line and column.
    """
    reader = _Reader()
    node = reader.compose(_decoded(text))
    value = reader.build(node, ()) if node is not None else None
    if reader.violations:
        raise invalid(reader.violations)
    return Document(value=value, marks=reader.marks)


def parse_json(text: str | bytes) -> Document:
    """Return the document in JSON `text`; it has no lines, only paths.

    Raises:
        InvalidError: it is no JSON, holds a repeated key, a number JSON has not, or nests too deep.
    """
    try:
        value = json.loads(_decoded(text), object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = LocatedViolation(field="", message=f"not JSON: {error.msg}", line=error.lineno, column=error.colno)
        raise invalid([place]) from error
    except RecursionError as error:
        raise InvalidError(f"the document nests deeper than {MAX_DEPTH} levels; flatten it") from error
    _check_bounds(value)
    return Document(value=value)


def _decoded(text: str | bytes) -> str:
    if len(text) > MAX_BYTES:
        raise InvalidError(f"the document has {len(text)} bytes; at most {MAX_BYTES} are read")
    try:
        return text.decode("utf-8-sig") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise InvalidError(f"the document is not UTF-8 (byte {error.start}); save it as UTF-8") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidError(f"key {twice!r} stands twice in one object; keep one", field=twice)
    return value


def _no_constant(name: str) -> None:
    raise InvalidError(f"{name} is no JSON number; give a finite one")


def _check_bounds(value: Any) -> None:  # noqa: ANN401 - any JSON value
    todo, nodes = [(value, 1)], 0
    while todo:
        item, depth = todo.pop()
        nodes += 1
        if depth > MAX_DEPTH or nodes > MAX_NODES:
            raise InvalidError(f"the document nests deeper than {MAX_DEPTH} levels or has over {MAX_NODES} values")
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        todo.extend((child, depth + 1) for child in children)


class _Composer(yaml.SafeLoader):
    """PyYAML's composer with a bound on nesting, checked before Python's own stack ends."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401
        """Compose one node."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs lack it
            raise yaml.MarkedYAMLError(problem=f"nests deeper than {MAX_DEPTH} levels; flatten it", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Reader:
    """Turns nodes into values, noting each one's mark and every fault."""

    def __init__(self) -> None:
        self.marks: dict[Path, Mark] = {}
        self.violations: list[LocatedViolation] = []
        self._nodes = 0

    def compose(self, text: str) -> yaml.Node | None:
        loader: _Composer | None = None
        try:
            loader = _Composer(text)
            node: yaml.Node | None = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._refuse((), mark, f"not YAML: {error.problem or error.context}")
            raise invalid(self.violations) from error
        except (yaml.YAMLError, ValueError) as error:  # ValueError: an escape beyond Unicode.
            raise InvalidError(f"not YAML: {error}") from error
        finally:
            if loader is not None:
                loader.dispose()
        return node

    def build(self, node: yaml.Node, path: Path) -> Any:  # noqa: ANN401 - any YAML value
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            self._refuse(path[:1], node.start_mark, f"aliases unfold to more than {MAX_NODES} values; write less")
            raise invalid(self.violations)
        self.marks[path] = Mark(line=node.start_mark.line + 1, column=node.start_mark.column + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, path, "tag:yaml.org,2002:seq")
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._check_tag(node, path, "tag:yaml.org,2002:map")
        value: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, child in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(path, key_node.start_mark, "a key must be a plain word")
                continue
            key = str(key_node.value)
            if key in first:
                self._refuse((*path, key), key_node.start_mark, f"stands twice; first on line {first[key]}; keep one")
                continue
            first[key] = key_node.start_mark.line + 1
            value[key] = self.build(child, (*path, key))
            self.marks[(*path, key)] = Mark(line=key_node.start_mark.line + 1, column=key_node.start_mark.column + 1)
        return value

    def _scalar(self, node: yaml.Node, path: Path) -> Any:  # noqa: ANN401 - any scalar
        text = str(node.value)
        if node.tag not in PLAIN_TAGS:
            self._refuse(path, node.start_mark, f"tag {node.tag!r} is not read here; write a plain value")
            return text
        if getattr(node, "style", None) is not None:
            return text
        if text.lower() in WORDS:
            return WORDS[text.lower()]
        if INTEGER.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if NUMBER.fullmatch(text):
            return self._finite(float(text), node, path)
        if text.lower() in (".inf", "+.inf", "-.inf", ".nan"):
            self._refuse(path, node.start_mark, f"{text} is not a finite number; give one")
        return text

    def _finite(self, number: float, node: yaml.Node, path: Path) -> float:
        if not math.isfinite(number):
            self._refuse(path, node.start_mark, "is too large for a number; give a smaller one")
        return number

    def _check_tag(self, node: yaml.Node, path: Path, expected: str) -> None:
        if node.tag != expected:
            self._refuse(path, node.start_mark, f"tag {node.tag!r} is not read here; write a plain value")

    def _refuse(self, path: Path, mark: yaml.Mark | None, message: str) -> None:
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        self.violations.append(LocatedViolation(field=path_text(path), message=message, line=line, column=column))


PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")
}
"""What PyYAML gives plain scalars by itself; read again here by YAML 1.2's rules."""
