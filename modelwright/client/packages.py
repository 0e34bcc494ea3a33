"""A package's tar from the network becomes a folder, or nothing does."""

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from modelwright.client.records import File
from services.common.digest import digest_file
from services.common.errors import ConflictError


class ChunkReader:
    """A file-like view of chunks, as far as `tarfile` reads one."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        parts, have = [self._rest], len(self._rest)
        while have < size and (chunk := next(self._chunks, b"")):
            parts.append(chunk)
            have += len(chunk)
        joined = b"".join(parts)
        self._rest = joined[size:]
        return joined[:size]


def unpack(chunks: Iterator[bytes], files: Sequence[File], folder: Path) -> None:
    """Unpack a tar into `folder`, which appears only once every file has the digest that `files` tells.

    Raises:
        ConflictError: `folder` holds something already, or a file is missing or differs.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConflictError(f"{folder} is not empty; give a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        source = cast(IO[bytes], ChunkReader(chunks))
        with tarfile.open(fileobj=source, mode="r|") as archive:
            archive.extractall(part, filter="data")
        for file in files:
            found = part / file.path
            if not found.is_file() or digest_file(found) != file.digest:
                raise ConflictError(f"{file.path} did not arrive as it was sent; pull again")
        if folder.exists():
            folder.rmdir()
        part.chmod(0o755)
        os.replace(part, folder)
    except tarfile.TarError as error:
        raise ConflictError(f"the package did not arrive whole ({error}); pull again") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
