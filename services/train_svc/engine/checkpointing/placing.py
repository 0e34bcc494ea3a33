"""Folders that appear whole or not at all, and what a full disk says."""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.errors import StorageFullError

FULL = {errno.ENOSPC, errno.EDQUOT}
HIDDEN = "."


@contextmanager
def placed_whole(folder: Path) -> Iterator[Path]:
    """Give a hidden folder that is synced and takes the name `folder` at the end, or goes if the block fails.

    What processes that were killed have left half-written beside it is removed. The block syncs its files itself.

    Raises:
        OSError: the disk is full or failed.
    """
    root = folder.parent
    root.mkdir(parents=True, exist_ok=True)
    _drop_orphans(root)
    partial = root / f"{HIDDEN}{folder.name}.{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        with _locked(partial):
            yield partial
            _sync(partial)
            _drop_replaced(folder)
            partial.rename(folder)
            _sync(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def drop(folder: Path) -> None:
    """Remove a folder; if that is cut short, none is left that looks whole."""
    hidden = folder.with_name(f"{HIDDEN}{folder.name}.{uuid.uuid4().hex}")
    try:
        folder.rename(hidden)
    except OSError:
        return
    shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def told_of_room(root: Path, what: str, needed_bytes: int) -> Iterator[None]:
    """Turn a full disk under `root` into one clear message; ask before the block whether there is room at all.

    Raises:
        StorageFullError: it is full.
    """
    root.mkdir(parents=True, exist_ok=True)
    free = _free_bytes(root)
    # Filling the disk to its last byte would make everyone else on it fail too.
    if free is not None and free < needed_bytes:
        raise StorageFullError(_no_room(root, what, needed_bytes))
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFullError(_no_room(root, what, needed_bytes)) from error
        if error.errno == errno.EFBIG:
            message = (
                f"{what} takes {needed_bytes:,} bytes, and this process may not write so large a file in {root}; "
                "raise its limit (ulimit -f) or choose another folder. The earlier checkpoints are whole"
            )
            raise StorageFullError(message) from error
        raise


def _no_room(root: Path, what: str, needed_bytes: int) -> str:
    free = _free_bytes(root) or 0
    return (
        f"no room for {what} in {root}: it takes {needed_bytes:,} bytes and {free:,} are free; free at least "
        f"{max(needed_bytes - free, 1):,} bytes on that disk, such as the folders of runs that have ended. "
        "The earlier checkpoints are whole"
    )


def _free_bytes(folder: Path) -> int | None:
    """Return what is left on the folder's disk; None: it does not say."""
    disk = os.statvfs(folder)
    return disk.f_bfree * disk.f_frsize if disk.f_blocks else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system lets go of when the process ends, however it does."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _take(descriptor)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Somebody holds it, or the disk knows no locks.
        return False
    return True


def _drop_orphans(root: Path) -> None:
    for left in root.glob(f"{HIDDEN}step-*.*"):
        try:
            descriptor = os.open(left, os.O_RDONLY)
        except OSError:
            continue
        try:
            if _take(descriptor):
                shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(descriptor)


def _drop_replaced(folder: Path) -> None:
    if folder.exists():
        drop(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
