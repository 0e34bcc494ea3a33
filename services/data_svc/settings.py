"""Settings of the data service."""

from pathlib import Path

from pydantic import Field

from services.common.settings import CommonSettings

DAY_S = 86400.0


class DataSettings(CommonSettings):
    """What the data service needs beside the common settings."""

    max_upload_bytes: int = Field(default=1 << 40, ge=1)
    """Largest file that may be uploaded."""
    max_part_bytes: int = Field(default=64 << 20, ge=1)
    """Largest part of an upload; a commit holds one in memory."""
    verify_inline_bytes: int = Field(default=256 << 20, ge=0)
    """Uploads up to this size have their digest checked when they are completed, larger ones by the commit."""
    open_upload_keep_s: float = Field(default=DAY_S, gt=0)
    """An unfinished upload that received nothing for this long is deleted."""
    complete_upload_keep_s: float = Field(default=7 * DAY_S, gt=0)
    """A complete upload that nobody used for this long is deleted; one that a commit needs stays."""
    expiry_interval_s: float = Field(default=300.0, gt=0)
    """How often the service looks for such uploads."""
    commit_queue: str = "cpu"
    """Queue of commit jobs."""
    max_files: int = Field(default=5_000_000, ge=1)
    """Files that one commit may hold."""
    max_file_bytes: int = Field(default=256 << 20, ge=1)
    """Bytes of one unpacked file."""
    max_unpacked_bytes: int = Field(default=1 << 40, ge=1)
    """Unpacked bytes of one commit."""
    data_cache_bytes: int = Field(default=4 << 30, ge=1)
    """Room for local copies of manifests."""

    def cache(self) -> Path:
        """Return the folder of local copies."""
        return self.home / "cache" / "data"

    def scratch(self) -> Path:
        """Return the folder that commits use while they run."""
        return self.home / "scratch" / "data"
