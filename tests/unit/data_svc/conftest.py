import io
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest
from PIL import Image

from services.common.storage.blobs import BlobStore
from services.common.storage.folder import FolderStorage
from services.data_svc.engine.archives import Source


def png(value: int, size: tuple[int, int] = (8, 6), mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    picture = Image.new(mode, size)
    picture.putdata([(value * 37 + index) % 256 for index in range(size[0] * size[1])])
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]  # any mode
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def source(filename: str, data: bytes) -> Source:
    def opened() -> BinaryIO:
        return io.BytesIO(data)

    return Source(filename=filename, size=len(data), open=opened)


@pytest.fixture
def make() -> SimpleNamespace:
    """Makers of pictures, archives and sources."""
    return SimpleNamespace(png=png, tar=tar, zip=zipped, source=source)


@pytest.fixture
def digits() -> dict[str, bytes]:
    """Forty pictures of two classes, by path."""
    return {f"{number % 2}/{number:03}.png": png(number) for number in range(40)}


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(FolderStorage(tmp_path / "storage"))
