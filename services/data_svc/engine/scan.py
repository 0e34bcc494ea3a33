"""One pass over the uploads: every file checked, digested and laid into a spool."""

import mimetypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from services.common.digest import digest_bytes
from services.data_svc.engine import pictures
from services.data_svc.engine.archives import Source, is_archive, read_entries
from services.data_svc.engine.findings import Findings
from services.data_svc.engine.layout import is_table
from services.data_svc.engine.limits import ScanLimits
from services.data_svc.engine.meter import Meter
from services.data_svc.engine.png import UnreadableError

PROGRESS_EVERY = 512


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes in the spool and what they are; shared by files with equal bytes."""

    digest: str
    offset: int
    length: int
    media_type: str
    shape: tuple[int, ...]


@dataclass(kw_only=True)
class Scan:
    """What the uploads hold."""

    files: dict[str, Content] = field(default_factory=dict)
    """By path, without the tables of labels."""
    folders: set[str] = field(default_factory=set)
    tables: dict[str, bytes] = field(default_factory=dict)
    """Each `labels.csv` by its path."""


def scan(
    sources: Sequence[Source],
    spool: Path,
    limits: ScanLimits,
    findings: Findings,
    progress: Callable[[float, int], None],
) -> Scan:
    """Read every upload once; faults go to `findings`, `progress` gets the share done and the files so far.

    Raises:
        InvalidError: a bound was passed; nothing after it was read.
    """
    meter = Meter(limits)
    total = sum(source.size for source in sources) or 1
    with spool.open("wb") as file:
        scanner = _Scanner(file, limits, findings)
        before = 0
        for source in sources:
            for path, data in read_entries(source, meter, findings):
                scanner.take(path, data)
                if meter.entries % PROGRESS_EVERY == 0:
                    progress(min(1.0, (before + meter.packed_bytes) / total), meter.entries)
            before += source.size
    progress(1.0, meter.entries)
    return scanner.result


class _Scanner:
    def __init__(self, spool: BinaryIO, limits: ScanLimits, findings: Findings) -> None:
        self.result = Scan()
        self._spool = spool
        self._limits = limits
        self._findings = findings
        self._known: dict[str, Content | None] = {}
        self._size = 0

    def take(self, path: str, data: bytes | None) -> None:
        if data is None:
            self.result.folders.add(path)
        elif path in self.result.files or path in self.result.tables:
            self._findings.fault(path, "comes twice; give every sample its own name")
        elif is_archive(path):
            self._findings.fault(path, "is an archive inside an archive; unpack it first")
        elif is_table(path):
            self.result.tables[path] = data
        else:
            self._take_sample(path, data)

    def _take_sample(self, path: str, data: bytes) -> None:
        digest = digest_bytes(data)
        content = self._known.get(digest)
        if content is None:
            content = self._known[digest] = self._inspect(path, digest, data)
        if content is not None:
            self.result.files[path] = content

    def _inspect(self, path: str, digest: str, data: bytes) -> Content | None:
        suffix = path.rpartition(".")[2].lower()
        if suffix not in pictures.SUFFIXES:
            media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
            return self._keep(digest, data, media_type, ())
        try:
            picture = pictures.inspect_picture(data, self._limits)
        except UnreadableError as error:
            self._findings.fault(path, str(error))
            return None
        return self._keep(digest, data, picture.media_type, picture.shape)

    def _keep(self, digest: str, data: bytes, media_type: str, shape: tuple[int, ...]) -> Content:
        self._spool.write(data)
        content = Content(digest, self._size, len(data), media_type, shape)
        self._size += len(data)
        return content
