"""A storage in a local folder: one file an object, written aside and renamed."""

import errno
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from services.common.errors import ConflictError, NotFoundError, StorageFullError, UnavailableError
from services.common.storage.keys import check_key, check_prefix
from services.common.storage.store import CHUNK_BYTES, Buffer, Source, Stat, check_range, chunks_of

INCOMING = ".incoming"
"""Where files are written before they get their name; no key begins with a dot."""
STALE_S = 24 * 3600.0
"""Files in INCOMING of writers that died are removed after this."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_RETRIES = 5


class FolderStorage:
    """Keeps objects as files under `folder`, which is made if it is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._incoming = folder / INCOMING
        with _translated(str(folder)):
            self._incoming.mkdir(parents=True, exist_ok=True)
            _remove_stale(self._incoming)

    def put(self, key: str, source: Source, *, digest: str = "") -> int:
        """See Storage. `digest` is not needed here."""
        check_key(key)
        return self.put_named(_chunks(source), lambda: key)

    def put_named(self, chunks: Iterable[Buffer], name: Callable[[], str | None]) -> int:
        """See Storage: the file is written once and renamed to what `name` says."""
        aside = self._incoming / uuid.uuid4().hex
        try:
            size = _write(aside, chunks, str(self.folder))
            key = name()
            if key is not None:
                self._rename(aside, check_key(key))
            return size
        finally:
            aside.unlink(missing_ok=True)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """See Storage."""
        with self._open(key, offset, length) as file:
            return file.read(-1 if length is None else length)

    def stream(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Storage. A missing object is told at the call, not at the first chunk."""
        return _pieces(self._open(key, offset, length), length)

    def stat(self, key: str) -> Stat:
        """See Storage."""
        with _translated(key):
            found = self._path(key).stat()
            if not os.path.isfile(self._path(key)):
                raise FileNotFoundError(errno.ENOENT, "a folder, no object")
        return Stat(key=key, size=found.st_size, modified_s=found.st_mtime)

    def exists(self, key: str) -> bool:
        """See Storage."""
        return self._path(key).is_file()

    def size(self, key: str) -> int:
        """See Storage."""
        return self.stat(key).size

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """See Storage."""
        parent = check_prefix(prefix).rpartition("/")[0]
        yield from _walk(self.folder / parent, f"{parent}/" if parent else "", prefix)

    def delete(self, key: str) -> None:
        """See Storage. A folder left empty goes too."""
        path = self._path(key)
        with _translated(key):
            try:
                path.unlink(missing_ok=True)
                if path.parent != self.folder:
                    path.parent.rmdir()
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}:
                    raise

    def presign_get(self, key: str, expires_s: int = 3600) -> str | None:
        """Return None: a folder has no addresses."""
        check_key(key)
        return None

    def presign_put(self, key: str, expires_s: int = 3600) -> str | None:
        """Return None: a folder has no addresses."""
        check_key(key)
        return None

    def _path(self, key: str) -> Path:
        return self.folder / check_key(key)

    def _open(self, key: str, offset: int, length: int | None) -> BinaryIO:
        check_range(offset, length)
        with _translated(key):
            file = self._path(key).open("rb")
            file.seek(offset)
            return file

    def _rename(self, aside: Path, key: str) -> None:
        target = self.folder / key
        for attempt in range(_RETRIES):
            try:
                with _translated(key):
                    made = _make_parents(target.parent, self.folder)
                    os.replace(aside, target)
                    for folder in made:
                        _sync_folder(folder)
                return
            except (NotFoundError, ConflictError):  # Another thread's delete took the empty folder away.
                if attempt == _RETRIES - 1:
                    raise


def _chunks(source: Source) -> Iterable[Buffer]:
    if isinstance(source, Path):
        return chunks_of(source)
    if isinstance(source, Buffer):
        return [source]
    return source


def _write(path: Path, chunks: Iterable[Buffer], where: str) -> int:
    with _translated(where):
        file = path.open("xb", buffering=0)
    size = 0
    with file:
        for chunk in chunks:  # Its errors are the caller's own and pass untranslated.
            with _translated(where):
                size += _write_all(file.fileno(), chunk)
        with _translated(where):
            os.fsync(file.fileno())
    return size


def _write_all(descriptor: int, chunk: Buffer) -> int:
    view = memoryview(chunk).cast("B")
    done = 0
    while done < len(view):
        done += os.write(descriptor, view[done:])
    return done


def _pieces(file: BinaryIO, length: int | None) -> Iterator[bytes]:
    left = length
    with file:
        while left is None or left > 0:
            chunk = file.read(CHUNK_BYTES if left is None else min(left, CHUNK_BYTES))
            if not chunk:
                return
            left = left if left is None else left - len(chunk)
            yield chunk


def _make_parents(folder: Path, root: Path) -> list[Path]:
    """Make `folder` and return the folders whose entries changed, to be synced."""
    changed = [folder]
    while not folder.exists() and folder != root:
        folder = folder.parent
        changed.append(folder)
    changed[0].mkdir(parents=True, exist_ok=True)
    return changed


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: Path, base: str, prefix: str) -> Iterator[Stat]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name + "/" * entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        key = base + entry.name
        if entry.is_dir() and (f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/")) and entry.name != INCOMING:
            yield from _walk(folder / entry.name, f"{key}/", prefix)
        elif entry.is_file() and key.startswith(prefix):
            try:
                found_stat = entry.stat()
            except FileNotFoundError:  # Deleted while we list.
                continue
            yield Stat(key=key, size=found_stat.st_size, modified_s=found_stat.st_mtime)


def _remove_stale(incoming: Path) -> None:
    for path in incoming.iterdir():
        try:
            if time.time() - path.stat().st_mtime > STALE_S:
                path.unlink()
        except FileNotFoundError:
            continue


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"the storage has no object {what!r}") from error
    except (NotADirectoryError, FileExistsError) as error:
        raise ConflictError(f"the key {what!r} lies under another object, or is a folder of others") from error
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFullError(
                f"no space left for {what!r} ({error.strerror}); free space or collect unused blobs, then try again"
            ) from error
        if error.errno == errno.ENOTEMPTY:
            raise ConflictError(f"the key {what!r} is a folder of other objects") from error
        raise UnavailableError(f"the storage folder failed at {what!r}: {error.strerror or error}") from error
