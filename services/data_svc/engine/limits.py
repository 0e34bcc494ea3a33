"""Bounds on what an upload may hold."""

from dataclasses import dataclass, fields
from typing import Self

from services.common.errors import InvalidError
from services.data_svc.settings import DataSettings


@dataclass(frozen=True, kw_only=True)
class ScanLimits:
    """Bounds that keep a hostile or mistaken archive from filling memory and disks."""

    max_entries: int = 5_000_000
    """Files over all uploads of a commit."""
    max_entry_bytes: int = 256 << 20
    """Bytes of one unpacked file; a file is held in memory while it is checked."""
    max_total_bytes: int = 1 << 40
    """Unpacked bytes over all uploads of a commit."""
    max_ratio: int = 200
    """Unpacked to packed bytes; pictures and sound do not shrink like that, decompression bombs do."""
    ratio_free_bytes: int = 16 << 20
    """Bytes that may be unpacked before the ratio counts."""
    max_depth: int = 16
    """Folders in a path."""
    max_pixels: int = 100_000_000
    """Pixels of one picture."""

    def __post_init__(self) -> None:
        """Refuse bounds that would let nothing through."""
        for entry in fields(self):
            if getattr(self, entry.name) < 1:
                raise InvalidError(f"{entry.name} must be at least 1", field=entry.name)

    @classmethod
    def of(cls, settings: DataSettings) -> Self:
        """Return the bounds that the settings name."""
        return cls(
            max_entries=settings.max_files,
            max_entry_bytes=settings.max_file_bytes,
            max_total_bytes=settings.max_unpacked_bytes,
        )
