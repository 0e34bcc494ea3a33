import gzip
import io
import random
import tarfile
import zipfile
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from services.common.errors import InvalidError
from services.data_svc.engine.archives import Source, read_entries
from services.data_svc.engine.findings import Findings
from services.data_svc.engine.limits import ScanLimits
from services.data_svc.engine.meter import Meter

Read = Callable[..., tuple[dict[str, bytes | None], list[str]]]


@pytest.fixture
def read(make: SimpleNamespace) -> Read:
    """Reads an upload and returns its entries and its faults."""

    def run(name: str, data: bytes, **limits: int) -> tuple[dict[str, bytes | None], list[str]]:
        findings = Findings()
        source: Source = make.source(name, data)
        entries = dict(read_entries(source, Meter(ScanLimits(**limits)), findings))
        return entries, [f"{fault.field}: {fault.message}" for fault in findings.faults]

    return run


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def info_of(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.BLKTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a device"),
    ],
)
def test_links_and_devices_are_refused_and_the_rest_read(kind: bytes, reason: str, read: Read) -> None:
    data = tar_of((info_of("0/odd", kind, link="/etc/passwd"), b""), (info_of("0/a.txt", size=2), b"ab"))
    entries, faults = read("x.tar", data)
    assert entries == {"0/a.txt": b"ab"}
    assert len(faults) == 1
    assert reason in faults[0]


def test_links_in_zips_are_refused(read: Read) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("0/link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert "is a link" in read("x.zip", buffer.getvalue())[1][0]


@pytest.mark.parametrize("cut", [700, 1100, 1536, 2000])
def test_a_cut_tar_is_noticed_wherever_it_was_cut(cut: int, read: Read, make: SimpleNamespace) -> None:
    data = make.tar({"0/a": b"a" * 600, "0/b": b"b" * 10, "0/c": b"c"})
    entries, faults = read("x.tar", data[:cut])
    assert len(entries) < 3
    assert len(faults) == 1
    assert "x.tar" in faults[0]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_cut_or_damaged_compressed_tar_is_noticed(mode: str, read: Read, make: SimpleNamespace) -> None:
    noise = random.Random(5)
    data = make.tar({f"0/{number}": noise.randbytes(500) for number in range(50)}, mode)
    for damaged in (data[: len(data) // 2], data[:2000] + bytes(100) + data[2100:]):
        assert "cannot be read as a tar archive" in read("x.tar", damaged)[1][0]


def test_a_damaged_zip_entry_is_named(read: Read) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("0/a", "same" * 100)
        archive.writestr("0/b", "other" * 100)
    data = buffer.getvalue().replace(b"other", b"0ther", 1)
    entries, faults = read("x.zip", data)
    assert list(entries) == ["0/a"]
    assert "0/b: cannot be unpacked" in faults[0]


def test_a_file_that_is_not_what_its_name_says_is_refused(read: Read) -> None:
    for name in ("x.tar", "x.tar.gz", "x.zip"):
        assert "cannot be read as a" in read(name, b"plain text, long enough to look at" * 40)[1][0]


def test_a_compressed_bomb_is_stopped_while_it_unfolds(read: Read) -> None:
    size = 40 << 20
    bomb = gzip.compress(tar_of((info_of("0/zeros", size=size), bytes(size))))
    with pytest.raises(InvalidError, match="decompression bomb"):
        read("x.tgz", bomb)


def test_a_zip_bomb_is_stopped_before_it_unfolds(read: Read, make: SimpleNamespace) -> None:
    with pytest.raises(InvalidError, match="decompression bomb"):
        read("x.zip", make.zip({"0/zeros": bytes(40 << 20)}))


def test_totals_and_single_files_are_bounded(read: Read, make: SimpleNamespace) -> None:
    files = {"0/a": bytes(5000), "0/b": bytes(6000)}
    for name, data in (("x.tar", make.tar(files)), ("x.zip", make.zip(files))):
        with pytest.raises(InvalidError, match="bytes unpacked"):
            read(name, data, max_total_bytes=8000)
        entries, faults = read(name, data, max_entry_bytes=5500)
        assert list(entries) == ["0/a"]
        assert "0/b: has 6000 bytes" in faults[0]
    with pytest.raises(InvalidError, match="a single file may have 100"):
        read("photo.png", bytes(200), max_entry_bytes=100)


def test_a_header_that_claims_gigabytes_is_refused(read: Read) -> None:
    header = info_of("././@PaxHeader", tarfile.XHDTYPE, size=8 << 30).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(InvalidError, match="an archive header claims"):
        read("x.tar", header + bytes(4096))


def test_names_with_other_letters_are_kept_in_one_form(read: Read, make: SimpleNamespace) -> None:
    entries, faults = read("x.tar", make.tar({"数字/a\u0301.txt": b"x"}))
    assert (list(entries), faults) == (["数字/\u00e1.txt"], [])


def test_names_that_are_not_utf8_are_refused(read: Read) -> None:
    data = tar_of((info_of("0/caf\udce9.txt"), b""))
    assert "not UTF-8" in read("x.tar", data)[1][0]
