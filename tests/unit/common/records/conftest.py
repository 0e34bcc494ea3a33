from pathlib import Path

import pytest

from services.common.digest import digest_file
from services.common.errors import NotFoundError


class FolderBlobs:
    """An honest small blob store: one file a digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.fetched: list[str] = []

    def put_file(self, path: Path) -> str:
        digest = digest_file(path)
        self._path(digest).write_bytes(path.read_bytes())
        return digest

    def read_range(self, digest: str, offset: int, length: int) -> bytes:
        return self._path(digest).read_bytes()[offset : offset + length]

    def fetch(self, digest: str, target: Path) -> None:
        if not self._path(digest).exists():
            raise NotFoundError(f"no blob {digest}")
        self.fetched.append(digest)
        target.write_bytes(self._path(digest).read_bytes())

    def _path(self, digest: str) -> Path:
        return self.folder / digest.removeprefix("sha256:")


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "blobs")
