"""What is wrong with an upload, gathered so that all of it can be told at once."""

from dataclasses import dataclass, field

from services.common.errors import InvalidError, Violation

MAX_NAMED = 1000


@dataclass
class Findings:
    """Faults, which stop a commit, and warnings, which are kept in its statistics."""

    faults: list[Violation] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fault(self, where: str, message: str) -> None:
        """Note a fault of the file, folder or option `where`."""
        self.faults.append(Violation(field=printable(where), message=message))

    def warn(self, message: str) -> None:
        """Note something that is allowed but may surprise."""
        self.warnings.append(message)

    def refuse(self) -> None:
        """Do nothing if there is no fault.

        Raises:
            InvalidError: names every fault.
        """
        if not self.faults:
            return
        lines = [f"  {fault.field}: {fault.message}" for fault in self.faults[:MAX_NAMED]]
        if len(self.faults) > MAX_NAMED:
            lines.append(f"  and {len(self.faults) - MAX_NAMED} more")
        count = f"{len(self.faults)} faults were" if len(self.faults) > 1 else "a fault was"
        message = f"nothing was committed, {count} found:\n" + "\n".join(lines)
        raise InvalidError(message, violations=self.faults[:MAX_NAMED])


def printable(text: str) -> str:
    """Return `text` with control characters, bad surrogates and the like escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
