"""Zip archives."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from services.data_svc.engine.findings import Findings, printable
from services.data_svc.engine.meter import Meter
from services.data_svc.engine.paths import check_path

ENCRYPTED = 0x1
DAMAGE = (zipfile.BadZipFile, EOFError, zlib.error, OSError, ValueError, NotImplementedError, RuntimeError)


def read_zip(file: BinaryIO, name: str, meter: Meter, findings: Findings) -> Iterator[tuple[str, bytes | None]]:
    """Yield path and bytes of each file, and path and None of each folder; see `archives.read_entries`."""
    try:
        archive = zipfile.ZipFile(file)
    except DAMAGE as error:
        findings.fault(name, f"cannot be read as a zip archive: {printable(str(error))}; pack and upload it again")
        return
    with archive:
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            meter.entry()
            entry = _entry(archive, info, meter, findings)
            if entry:
                yield entry


def _entry(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter, findings: Findings
) -> tuple[str, bytes | None] | None:
    path = check_path(info.orig_filename, meter.limits, findings)
    if path is None:
        return None
    if info.is_dir():
        return path, None
    problem = _problem(info) or meter.check_size(path, info.file_size)
    if problem:
        findings.fault(path, problem)
        return None
    meter.check_entry_ratio(info.file_size, info.compress_size)
    try:
        data = archive.read(info)
    except DAMAGE as error:
        findings.fault(path, f"cannot be unpacked: {printable(str(error))}")
        return None
    meter.unpacked(len(data))
    return path, data


def _problem(info: zipfile.ZipInfo) -> str:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "is a link; pack the file that it points to"
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "is a device or another special file; leave it out"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted; pack it without a password"
    return ""
