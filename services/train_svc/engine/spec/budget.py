"""How much memory of the device a run may take."""

import re
from dataclasses import dataclass
from typing import Any

from services.common.errors import InvalidError, Violation

UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


@dataclass(frozen=True)
class MemoryBudget:
    """A promise on the measured peak of a run's memory on its device, such as `MemoryBudget("8GiB")`."""

    text: str = ""
    """A number and its unit: B, KiB, MiB, GiB, kB, MB, GB; empty: no bound."""

    def __post_init__(self) -> None:
        """Check the form.

        Raises:
            InvalidError: it is no size.
        """
        match = FORM.fullmatch(self.text)
        if self.text and (not match or match[2].upper() not in UNITS or float(match[1]) <= 0):
            message = f"got {self.text!r}, wanted a size above zero such as '8GiB' or '800MiB'"
            raise InvalidError(message, field="memory_budget")

    @property
    def size_bytes(self) -> int | None:
        """Bytes; None: no bound."""
        match = FORM.fullmatch(self.text)
        return int(float(match[1]) * UNITS[match[2].upper()]) if self.text and match else None

    @classmethod
    def from_data(cls, value: object, path: str, found: list[Violation]) -> "MemoryBudget | None":
        """Return the budget that text or a number of bytes gives."""
        is_text = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
        try:
            return cls(str(value) if is_text else repr(value))
        except InvalidError as error:
            found += [Violation(field=path, message=each.message) for each in error.violations]
            return None

    def to_data(self) -> Any:  # noqa: ANN401 - plain data
        """Return it as it was given."""
        return self.text
