"""`state.safetensors`: named arrays, hashed while they are written and read, with no second copy in memory.

The format is safetensors (https://huggingface.co/docs/safetensors): eight bytes that hold the header's length, the
header (JSON: format, shape and byte range of each tensor), and the tensors end to end.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from services.train_svc.engine.checkpointing.dtypes import Array, code_of, dtype_of

METADATA = {"format": "pt"}
PIECE_BYTES = 4 << 20
"""Hashed and written in one go, without Python's lock; small enough to stay in the processor's cache in between."""
SMALL_BYTES = 1 << 16
"""Arrays below it are gathered into pieces, so that ten thousand of them are not as many system calls."""
SYNC_BYTES = 32 << 20
"""After so many this thread waits for the disk. A gigabyte left to the kernel's own threads would take training's cores
in one rush, and hold up whoever else waits for the disk; measured, training loses half as much this way."""
ALIGNMENT = 8


def state_bytes(tensors: Mapping[str, Array]) -> int:
    """Return the size of the file that holds the arrays.

    Raises:
        InvalidError: an array has a number format that the file cannot hold.
    """
    return len(_header(tensors)) + sum(array.nbytes for array in tensors.values())


def write_state(path: Path, tensors: Mapping[str, Array]) -> str:
    """Write the arrays to a new file, have the disk hold them, and return the file's digest.

    Raises:
        OSError: it cannot be written; a part of the file may be there.
        InvalidError: an array has a number format that the file cannot hold.
    """
    digest = hashlib.sha256()
    with path.open("xb", buffering=0) as file:
        unsynced = 0
        for piece in _pieces(_buffers(tensors)):
            _write_all(file, piece)
            digest.update(piece)
            unsynced += len(piece)
            if unsynced >= SYNC_BYTES:
                os.fdatasync(file.fileno())
                unsynced = 0
        os.fsync(file.fileno())
    return f"sha256:{digest.hexdigest()}"


def read_state(path: Path) -> tuple[dict[str, Array], str]:
    """Return the arrays of a file and the digest of its bytes, which are read once.

    Raises:
        OSError: it cannot be read.
        ValueError: it does not hold what its header says.
    """
    with path.open("rb", buffering=0) as file:
        reader = _HashedReader(file)
        (length,) = struct.unpack("<Q", reader.take(8))
        entries = _entries(reader.take(length), reader.left)
        tensors = {}
        for name, dtype, shape in entries:
            tensors[name] = np.empty(shape, dtype)
            reader.fill(_as_bytes(tensors[name]))
        return tensors, reader.digest


class _HashedReader:
    """Reads a file once, and hashes what it reads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.left = os.fstat(file.fileno()).st_size

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError(f"it ends too early: wanted {count:,} bytes more, got {self.left:,}")
        taken = bytearray(count)
        self.fill(memoryview(taken))
        return bytes(taken)

    def fill(self, target: memoryview) -> None:
        while target:
            count = self._file.readinto(target[:PIECE_BYTES])  # type: ignore[attr-defined]  # it is not buffered
            if not count:
                raise ValueError("it became shorter while it was read")
            self._hash.update(target[:count])
            self.left -= count
            target = target[count:]


def _entries(header: bytes, size: int) -> list[tuple[str, np.dtype[Any], tuple[int, ...]]]:
    """Return name, format and shape of each tensor in the order of the file, if they fill `size` bytes exactly."""
    try:
        # By range and then size: one of no bytes begins where the next does.
        described = sorted(_described(json.loads(header.decode())), key=lambda entry: entry[3])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its header is not that of named tensors: {error!r}") from error
    at = 0
    for name, dtype, shape, (begin, end) in described:
        if begin != at or min(shape, default=0) < 0 or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"its header gives {name!r} a wrong range of bytes")
        at = end
    if at != size:
        raise ValueError(f"it holds {size:,} bytes of tensors, wanted {at:,}")
    return [entry[:3] for entry in described]


def _described(header: Any) -> Iterator[tuple[str, np.dtype[Any], tuple[int, ...], tuple[int, int]]]:  # noqa: ANN401
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, dtype_of(entry["dtype"]), tuple(map(int, entry["shape"])), (int(begin), int(end))


def _ordered(tensors: Mapping[str, Array]) -> list[str]:
    # Wide numbers first, so that each array begins at a multiple of its item's size.
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))


def _header(tensors: Mapping[str, Array]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": METADATA}
    at = 0
    for name in _ordered(tensors):
        array = tensors[name]
        span = [at, at + array.nbytes]
        entries[name] = {"dtype": code_of(array, name), "shape": list(array.shape), "data_offsets": span}
        at += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _buffers(tensors: Mapping[str, Array]) -> Iterator[memoryview]:
    yield memoryview(_header(tensors))
    for name in _ordered(tensors):
        yield _as_bytes(np.ascontiguousarray(tensors[name]))


def _as_bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _pieces(buffers: Iterable[memoryview]) -> Iterator[memoryview]:
    """Yield the same bytes in pieces that are neither tiny nor huge."""
    gathered = bytearray()
    for buffer in buffers:
        if len(buffer) < SMALL_BYTES:
            gathered += buffer
        if gathered and (len(buffer) >= SMALL_BYTES or len(gathered) >= PIECE_BYTES):
            yield memoryview(gathered)
            gathered = bytearray()
        if len(buffer) >= SMALL_BYTES:
            for start in range(0, len(buffer), PIECE_BYTES):
                yield buffer[start : start + PIECE_BYTES]
    if gathered:
        yield memoryview(gathered)


def _write_all(file: BinaryIO, piece: memoryview) -> None:
    # A disk that gets full takes a part of the piece first, and fails at the rest.
    while piece:
        piece = piece[file.write(piece) :]
