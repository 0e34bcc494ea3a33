"""What a storage can do, whether it is a folder or S3."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from services.common.errors import InvalidError

CHUNK_BYTES = 1 << 20
"""Size of the pieces that reads and writes are cut into."""

Buffer = bytes | bytearray | memoryview
Source = Buffer | Path | Iterable[Buffer]
"""What can be put: bytes, a file, or chunks laid end to end."""


@dataclass(frozen=True, kw_only=True)
class Stat:
    """An object as the storage lists it."""

    key: str
    """Its name."""
    size: int
    """Bytes."""
    modified_s: float
    """When it was written, seconds since 1970."""


class Storage(Protocol):
    """Objects under keys. Every method may be called from many threads.

    All raise `InvalidError` for a key that `check_key` refuses, `UnavailableError` while the store is
    away, and `StorageFullError` when there is no room. An object appears whole or not at all.
    """

    def put(self, key: str, source: Source, *, digest: str = "") -> int:
        """Write the object, over an older one, and return its size in bytes.

        A known `digest` (`sha256:<hex>` of `source`, for bytes alone) spares hashing it for the transport.
        """
        ...

    def put_named(self, chunks: Iterable[Buffer], name: Callable[[], str | None]) -> int:
        """Write the chunks under a key that is known only after the last: `name()`, or None to drop them."""
        ...

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return up to `length` bytes from `offset` on; fewer, or none, at the end. NotFoundError if absent."""
        ...

    def stream(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the same range in chunks of up to 1 MiB."""
        ...

    def stat(self, key: str) -> Stat:
        """Return size and age, or raise NotFoundError."""
        ...

    def exists(self, key: str) -> bool:
        """Say whether the object is there."""
        ...

    def size(self, key: str) -> int:
        """Return its bytes, or raise NotFoundError."""
        ...

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Yield the objects whose keys begin with `prefix`, in the order of their keys."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; one that is absent is no error."""
        ...

    def presign_get(self, key: str, expires_s: int = 3600) -> str | None:
        """Return an address that gives the object without credentials, or None where the store has none."""
        ...

    def presign_put(self, key: str, expires_s: int = 3600) -> str | None:
        """Return an address that takes the object by HTTP PUT, or None where the store has none."""
        ...


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield the file's bytes in chunks of 1 MiB."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def check_range(offset: int, length: int | None) -> None:
    """Refuse a range that cannot be."""
    if offset < 0 or (length is not None and length < 0):
        raise InvalidError(f"range {offset}+{length} is negative; give an offset and a length from 0 on", field="range")
