"""Counts what comes out of archives and stops bombs while they unfold."""

from collections.abc import Callable

from services.common.errors import InvalidError
from services.data_svc.engine.findings import printable
from services.data_svc.engine.limits import ScanLimits


class Meter:
    """Running totals over all uploads of a commit, held against the limits."""

    def __init__(self, limits: ScanLimits) -> None:
        self.limits = limits
        self.entries = 0
        self.total_bytes = 0
        self._name = ""
        self._packed: Callable[[], int] = lambda: 0
        self._unpacked = 0

    def enter(self, name: str, packed_position: Callable[[], int]) -> None:
        """Begin an upload; `packed_position` says how many of its bytes have been read."""
        self._name, self._packed, self._unpacked = name, packed_position, 0

    @property
    def packed_bytes(self) -> int:
        """Bytes of the present upload that have been read."""
        return self._packed()

    def entry(self) -> None:
        """Count one file or folder."""
        self.entries += 1
        if self.entries > self.limits.max_entries:
            self._stop(f"more than {self.limits.max_entries} files")

    def unpacked(self, size: int) -> None:
        """Count bytes that came out."""
        self.total_bytes += size
        self._unpacked += size
        if self.total_bytes > self.limits.max_total_bytes:
            self._stop(f"more than {self.limits.max_total_bytes} bytes unpacked")

    def check_ratio(self) -> None:
        """Hold what came out against what was read; for compressed streams."""
        if self._unpacked > self.limits.ratio_free_bytes:
            self.check_entry_ratio(self._unpacked, self._packed())

    def check_entry_ratio(self, unpacked: int, packed: int) -> None:
        """Hold one entry's unpacked size against its packed size."""
        if unpacked > self.limits.ratio_free_bytes and unpacked > packed * self.limits.max_ratio:
            self._stop(
                f"{unpacked} bytes out of {packed}, more than {self.limits.max_ratio} times: a decompression bomb"
            )

    def check_size(self, path: str, size: int) -> str:
        """Return why a file of `size` bytes is refused, or ''."""
        if size > self.limits.max_entry_bytes:
            return f"has {size} bytes; a single file may have {self.limits.max_entry_bytes}"
        return ""

    def _stop(self, what: str) -> None:
        raise InvalidError(f"nothing was committed: {printable(self._name)} holds {what}", field=printable(self._name))
