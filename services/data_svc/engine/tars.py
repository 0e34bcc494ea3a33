"""Tar archives, plain or compressed, read in one forward pass."""

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from services.common.errors import InvalidError
from services.data_svc.engine.findings import Findings, printable
from services.data_svc.engine.meter import Meter
from services.data_svc.engine.paths import check_path

BLOCK_BYTES = 512
SKIP_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 20
"""Extended headers are read into memory by the tar reader; no honest one is this long."""

DAMAGE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, UnicodeError, ValueError)


class ForwardStream:
    """The part of a file's interface that `tarfile` reads through, counted and never going back."""

    def __init__(self, file: BinaryIO, meter: Meter, *, packed: bool) -> None:
        self._file = file
        self._meter = meter
        self._packed = packed
        self._position = 0
        self.last = b""
        """What the last read gave: after the last header, the archive's end mark."""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes of headers."""
        if size > MAX_HEADER_BYTES:
            raise InvalidError(f"nothing was committed: an archive header claims {size} bytes; the archive is hostile")
        self.last = self._take(size)
        return self.last

    def read_data(self, size: int) -> bytes:
        """Return up to `size` bytes of a file."""
        return self._take(size)

    def tell(self) -> int:
        """Return the position in the unpacked archive."""
        return self._position

    def seek(self, position: int) -> None:
        """Skip forward."""
        if position < self._position:
            raise tarfile.StreamError("the archive would have to be read backwards")
        while self._position < position:
            if not self._take(min(SKIP_BYTES, position - self._position)):
                return

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        self._position += len(data)
        self._meter.unpacked(len(data))
        if self._packed:
            self._meter.check_ratio()
        return data


def read_tar(
    file: BinaryIO, name: str, meter: Meter, findings: Findings, *, packed: bool
) -> Iterator[tuple[str, bytes | None]]:
    """Yield path and bytes of each file, and path and None of each folder; see `archives.read_entries`."""
    stream = ForwardStream(file, meter, packed=packed)
    try:
        with tarfile.open(fileobj=stream, mode="r:", errors="surrogateescape") as archive:  # type: ignore[call-overload]  # reads, tells, seeks
            while (member := archive.next()) is not None:
                meter.entry()
                archive.members.clear()
                entry = _entry(member, stream, meter, findings)
                if entry:
                    yield entry
        ended = stream.last == bytes(BLOCK_BYTES)
        # A compressed stream proves its check sum only at its very end.
        while packed and stream.read_data(SKIP_BYTES):
            pass
        if not ended:
            findings.fault(name, "ends without a tar archive's end mark: it was cut or is damaged; upload it again")
    except DAMAGE as error:
        findings.fault(name, f"cannot be read as a tar archive: {printable(str(error))}; pack and upload it again")


def _entry(
    member: tarfile.TarInfo, stream: ForwardStream, meter: Meter, findings: Findings
) -> tuple[str, bytes | None] | None:
    path = check_path(member.name, meter.limits, findings)
    if path is None:
        return None
    if member.isdir():
        return path, None
    problem = _problem(member) or meter.check_size(path, member.size)
    if problem:
        findings.fault(path, problem)
        return None
    data = stream.read_data(member.size)
    if len(data) < member.size:
        raise EOFError(f"{path} is cut: {len(data)} of {member.size} bytes are there")
    return path, data


def _problem(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "is a link; pack the file that it points to"
    if not member.isfile():
        return "is a device or another special file; leave it out"
    if member.issparse():
        return "is stored as a sparse file; pack it without --sparse"
    return ""
