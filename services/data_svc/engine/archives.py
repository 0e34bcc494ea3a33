"""Uploads read entry by entry in one pass, without unpacking them to disk."""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

from services.common.errors import InvalidError
from services.data_svc.engine.findings import Findings, printable
from services.data_svc.engine.meter import Meter
from services.data_svc.engine.paths import check_path
from services.data_svc.engine.tars import read_tar
from services.data_svc.engine.zips import read_zip

HEAD_BYTES = 512
COMPRESSIONS: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),  # type: ignore[dict-item, return-value]  # reads as one
    b"BZh": lambda file: bz2.BZ2File(file, "rb"),  # type: ignore[dict-item, return-value]  # reads as one
    b"\xfd7zXZ\x00": lambda file: lzma.LZMAFile(file, "rb"),  # type: ignore[dict-item, return-value]  # reads as one
}
ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One uploaded file."""

    filename: str
    """As the user named it."""
    size: int
    """Bytes."""
    open: Callable[[], BinaryIO]
    """Returns its bytes as a seekable file."""


def read_entries(source: Source, meter: Meter, findings: Findings) -> Iterator[tuple[str, bytes | None]]:
    """Yield the path and bytes of each file; of a folder, the path and None.

    A file that is not an archive is itself the only entry. Unsafe and damaged entries are noted in
    `findings` and passed over; a damaged archive ends the pass with a fault.

    Raises:
        InvalidError: a bound of the meter was passed; the rest cannot be trusted.
    """
    with source.open() as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        kind = _kind(source.filename.lower(), head)
        meter.enter(source.filename, file.tell)
        if kind == "zip":
            yield from read_zip(file, source.filename, meter, findings)
        elif kind == "tar":
            packed = next((opener for mark, opener in COMPRESSIONS.items() if head.startswith(mark)), None)
            stream = packed(file) if packed else file
            yield from read_tar(stream, source.filename, meter, findings, packed=packed is not None)
        else:
            yield from _plain(source, file, meter, findings)


def is_archive(path: str) -> bool:
    """Return whether a file's name is that of an archive."""
    return path.lower().endswith(ARCHIVE_SUFFIXES)


def _kind(name: str, head: bytes) -> str:
    named = name.endswith(ARCHIVE_SUFFIXES)
    if not named and PurePosixPath(name).suffix:
        return "plain"
    if head.startswith(ZIP_MARKS):
        return "zip"
    if head[257:262] == b"ustar" or head.startswith(tuple(COMPRESSIONS)):
        return "tar"
    if named:
        return "zip" if name.endswith(".zip") else "tar"
    return "plain"


def _plain(source: Source, file: BinaryIO, meter: Meter, findings: Findings) -> Iterator[tuple[str, bytes | None]]:
    path = check_path(source.filename, meter.limits, findings)
    if path is None:
        return
    if source.size > meter.limits.max_entry_bytes:
        raise InvalidError(
            f"{printable(source.filename)} has {source.size} bytes; a single file may have "
            f"{meter.limits.max_entry_bytes}",
            field=path,
        )
    data = file.read()
    meter.entry()
    meter.unpacked(len(data))
    yield path, data
