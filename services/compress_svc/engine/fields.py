"""Reads a mapping that a person typed: every fault is collected, none stops the reading."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.common.errors import Violation
from services.common.names import nearest


class Fields:
    """Takes typed values out of one mapping; what is wrong goes into `violations` and the default is used."""

    def __init__(self, data: Mapping[str, Any], path: str, violations: list[Violation]) -> None:
        self._data = data
        self._path = path
        self._violations = violations

    def reject(self, key: str, message: str) -> None:
        """Note a fault of the value at `key`; an empty key means the mapping itself."""
        field = ".".join(part for part in (self._path, key) if part)
        self._violations.append(Violation(field=field, message=message))

    def only(self, known: Iterable[str]) -> None:
        """Note every key that is not `known`, with the nearest that is."""
        known = list(known)
        for key in self._data:
            if key not in known:
                hint = nearest(str(key), known) or f"; known keys: {', '.join(known)}"
                self.reject(str(key), f"unknown key{hint}")

    def text(self, key: str, default: str) -> str:
        """Return a non-empty string."""
        value = self._data.get(key, default)
        if isinstance(value, str) and value:
            return value
        self.reject(key, f"got {value!r}, wanted text")
        return default

    def choice(self, key: str, options: tuple[str, ...], default: str) -> str:
        """Return one of `options`."""
        value = self._data.get(key, default)
        if value in options:
            return str(value)
        hint = nearest(str(value), options)
        self.reject(key, f"got {value!r}, wanted {' | '.join(options)}{hint}")
        return default

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = self._data.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.reject(key, f"got {value!r}, wanted a whole number from {low} to {high}")
        return default

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """Return a number from `low` to `high`."""
        value = self._data.get(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        self.reject(key, f"got {value!r}, wanted a number from {low} to {high}")
        return default

    def truth(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self._data.get(key, default)
        if isinstance(value, bool):
            return value
        self.reject(key, f"got {value!r}, wanted true or false")
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings, empty where the key is missing."""
        value = self._data.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        self.reject(key, f"got {value!r}, wanted a list of text")
        return ()
