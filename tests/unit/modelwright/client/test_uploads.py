"""Uploads: the same bytes every time, sent once, gone on with after a cut."""

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelwright import Client, ConflictError, InvalidError
from modelwright.client.tar import FolderTar


def test_the_tar_of_a_folder_holds_every_file_and_does_not_depend_on_times(pictures: Path) -> None:
    data = b"".join(FolderTar(pictures).chunks())
    os.utime(pictures / "a" / "1.png", (1, 1))
    assert b"".join(FolderTar(pictures).chunks()) == data
    assert len(data) == FolderTar(pictures).size
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()
        assert names == sorted(names)
        assert len(names) == 31
        found = archive.extractfile("b/9.png")
        assert found is not None
        assert found.read() == (pictures / "b" / "9.png").read_bytes()


def test_the_tar_can_be_read_from_any_offset(pictures: Path) -> None:
    tar = FolderTar(pictures)
    data = b"".join(tar.chunks())
    for offset in [*range(0, 3000, 97), 512, 1024, 100_000, tar.size - 1, tar.size]:
        assert b"".join(tar.chunks(offset)) == data[offset:], offset


def test_a_file_that_changes_while_it_is_sent_is_named(pictures: Path) -> None:
    tar = FolderTar(pictures)
    (pictures / "a" / "5.png").write_bytes(b"longer" * 10_000)
    with pytest.raises(ConflictError, match=r"5\.png changed"):
        tar.digest()


def test_an_empty_folder_is_refused(tmp_path: Path, client: Client) -> None:
    with pytest.raises(InvalidError, match="holds no files"):
        client.uploads.push(tmp_path)


def test_a_folder_arrives_whole_and_progress_reaches_its_end(gateway: Any, client: Client, pictures: Path) -> None:
    told: list[tuple[int, int]] = []
    upload = client.uploads.push(pictures, progress=lambda done, total: told.append((done, total)))
    assert upload.state == "complete"
    assert gateway.blobs[upload.digest] == b"".join(FolderTar(pictures).chunks())
    assert told[-1] == (upload.size, upload.size)


def test_the_same_folder_is_not_sent_twice(gateway: Any, client: Client, pictures: Path) -> None:
    client.uploads.push(pictures)
    gateway.requests.clear()
    assert client.uploads.push(pictures).state == "complete"
    assert [method for method, _, _ in gateway.requests] == ["POST"]


def test_a_cut_upload_goes_on_where_it_stopped(gateway: Any, connect: Any, cutting_proxy: Any, tmp_path: Path) -> None:
    file = tmp_path / "data.tar"
    file.write_bytes(os.urandom(3_000_000))
    proxy = cutting_proxy(gateway.port, upward=[1_000_000, 700_000])
    upload = connect(proxy.url).uploads.push(file)
    assert gateway.blobs[upload.digest] == file.read_bytes()
    patches = [path for method, path, _ in gateway.requests if method == "PATCH"]
    assert len(patches) == 3


def test_another_process_goes_on_with_a_cut_upload(
    gateway: Any, connect: Any, cutting_proxy: Any, pictures: Path
) -> None:
    proxy = cutting_proxy(gateway.port, upward=[200_000])
    with pytest.raises(Exception, match="does not answer"):
        connect(proxy.url, retries=0).uploads.push(pictures)
    gateway.requests.clear()
    upload = connect(gateway.url).uploads.push(pictures)
    sent = sum(int(headers["content-length"]) for method, _, headers in gateway.requests if method == "PATCH")
    assert 0 < sent < upload.size
    assert gateway.blobs[upload.digest] == b"".join(FolderTar(pictures).chunks())
