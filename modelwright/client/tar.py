"""A folder as a tar that is the same for the same files, made while it is read."""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import ConflictError, InvalidError

BLOCK = tarfile.BLOCKSIZE
CHUNK_BYTES = 1 << 20
IGNORED = frozenset({".DS_Store", "Thumbs.db", "__pycache__", ".git"})
"""Names that file managers and tools leave behind; they are never data."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file of the archive: its name in it, where it lies, its size, and where its header begins."""

    name: str
    path: Path
    size: int
    offset: int


class FolderTar:
    """The tar (POSIX pax) of a folder: members sorted by name, no owners, no times, mode 0644.

    Nothing is written to disk: `chunks` makes the bytes from any offset on, so a
    cut upload goes on without the part that arrived being read again.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InvalidError(f"{folder} is not a folder; give the folder that holds the samples", field="source")
        self.folder = folder
        self.members: list[Member] = []
        offset = 0
        for name, path, size in sorted(_files(folder)):
            self.members.append(Member(name=name, path=path, size=size, offset=offset))
            offset += len(_header(name, size)) + _padded(size)
        if not self.members:
            raise InvalidError(f"{folder} holds no files; put the samples there first", field="source")
        self.size = offset + 2 * BLOCK
        """Bytes of the whole archive."""

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """Yield the archive's bytes from `offset` on, about 1 MiB at a time.

        Raises:
            ConflictError: a file changed its size since the folder was listed.
        """
        buffer = bytearray()
        for piece in self._pieces(offset):
            buffer += piece
            if len(buffer) >= CHUNK_BYTES:
                yield bytes(buffer)
                buffer.clear()
        if buffer:
            yield bytes(buffer)

    def digest(self) -> str:
        """Return the digest of the archive; reads every file once."""
        state = hashlib.sha256()
        for chunk in self.chunks():
            state.update(chunk)
        return "sha256:" + state.hexdigest()

    def _pieces(self, offset: int) -> Iterator[bytes]:
        for member in self.members:
            header = _header(member.name, member.size)
            body = member.offset + len(header)
            end = body + _padded(member.size)
            if end <= offset:
                continue
            if offset < body:
                yield header[max(0, offset - member.offset) :]
            yield from _read(member, max(0, offset - body))
            padding = min(_padded(member.size) - member.size, end - offset)
            yield bytes(padding)
        yield bytes(min(2 * BLOCK, self.size - offset))


def _read(member: Member, skip: int) -> Iterator[bytes]:
    left = member.size - skip
    if left <= 0:
        return
    with member.path.open("rb") as file:
        file.seek(skip)
        while left > 0:
            chunk = file.read(min(left, CHUNK_BYTES))
            if not chunk:
                break
            left -= len(chunk)
            yield chunk
        if left or file.read(1):
            raise ConflictError(f"{member.path} changed while it was being uploaded; start again once it is at rest")


def _files(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.name in IGNORED:
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path), name + "/")
            elif entry.is_file():
                yield name, Path(entry.path), entry.stat().st_size
            elif entry.is_symlink():
                raise InvalidError(f"{entry.path} is a link to nothing; remove it", field="source")


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
