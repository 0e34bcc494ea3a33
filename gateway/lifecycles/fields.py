"""Typed reads of a document's fields that note every fault in place of stopping at the first."""

from collections.abc import Callable
from typing import Any, TypeVar

from gateway.lifecycles.document import Document, LocatedViolation, Path
from services.common.errors import InvalidError
from services.common.names import check_name, nearest

T = TypeVar("T")


class FieldReader:
    """Reads fields of one document; what is wrong gathers in `violations`."""

    def __init__(self, document: Document) -> None:
        self.violations: list[LocatedViolation] = []
        self._document = document

    def section(self, root: dict[str, Any], name: str, *, required: bool = False) -> dict[str, Any] | None:
        """Return the mapping under `name`; None if it is absent or no mapping."""
        if name not in root:
            if required:
                self.refuse((), f"has no `{name}`; add it")
            return None
        section = root[name]
        if section is None and not required:
            return {}
        if not isinstance(section, dict):
            self.refuse((name,), f"is {kind_of(section)}; write a mapping of keys and values")
            return None
        return section

    def name(self, section: dict[str, Any], path: Path, key: str, *, required: bool = False) -> str:
        """Return the name under `key`, checked to be one that things may have."""
        text = self.text(section, path, key, required=required)
        if text:
            self.guard((*path, key), lambda: check_name(text, key))
        return text

    def text(self, section: dict[str, Any], path: Path, key: str, *, required: bool = False) -> str:
        """Return the text under `key`; empty if it is absent or faulty."""
        value = section.get(key)
        if key in section and (not isinstance(value, str) or not value):
            self.refuse((*path, key), f"is {kind_of(value)}; give a text{' in quotes' if value is not None else ''}")
            return ""
        if required and key not in section:
            self.refuse(path, f"has no `{key}`; add it")
        return value or ""

    def typed(self, section: dict[str, Any], path: Path, key: str, kind: type[T], default: T) -> T:
        """Return the value under `key` if it is exactly of `kind`, else `default`."""
        value = section.get(key, default)
        if type(value) is not kind:
            self.refuse((*path, key), f"is {kind_of(value)}; give {KINDS[kind]}")
            return default
        return value

    def check_keys(self, path: Path, section: dict[str, Any], known: tuple[str, ...]) -> None:
        """Note every key that is not known, with the nearest that is."""
        for key in section:
            if key not in known:
                hint = nearest(key, known) or f"; known are: {', '.join(known)}"
                self.refuse((*path, key), f"is not a key here{hint}")

    def guard(self, path: Path, check: Callable[[], T]) -> T | None:
        """Return what `check` gives, or note its complaint at `path`."""
        try:
            return check()
        except InvalidError as error:
            self.refuse(path, error.message)
            return None

    def refuse(self, path: Path, message: str) -> None:
        """Note a fault."""
        self.violations.append(self._document.violation(path, message))


KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a mapping",
    type(None): "nothing",
}


def kind_of(value: object) -> str:
    """Return a value's kind in words, with the value where it is short."""
    shown = f" ({str(value)[:40]!r})" if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    return f"{KINDS.get(type(value), type(value).__name__)}{shown}"
