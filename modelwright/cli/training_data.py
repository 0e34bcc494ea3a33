"""A dataset version of the platform as records on this machine."""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelwright.client import Client
from services.common.errors import InvalidError, UnavailableError
from services.common.records import RecordSet

if TYPE_CHECKING:
    from services.train_svc.engine.training.jobfile import JobFile


def cache_folder() -> Path:
    """Return where records are kept between runs: `MODELWRIGHT_HOME`/records, or `~/.modelwright/records`."""
    home = os.environ.get("MODELWRIGHT_HOME")
    return (Path(home) if home else Path.home() / ".modelwright") / "records"


def fetch_records(
    name: str,
    *,
    url: str | None = None,
    token: str | None = None,
    project: str | None = None,
    cache: Path | None = None,
) -> RecordSet:
    """Return the records of a dataset version; bytes are fetched when they are first read, and kept.

    Args:
        name: `digits@3`, `digits` (its newest), or a digest.
        url: the platform; None: as everywhere.
        token: of the platform.
        project: whose dataset it is.
        cache: where the bytes are kept; None: see `cache_folder`.

    Raises:
        NotFoundError: there is no such version.
        UnavailableError: the platform does not answer.
    """
    client = Client(url, token, project)
    version = client.datasets.get(name.replace("@", ":"))
    return RecordSet.open(FetchedBlobs(client.blobs), version.digest, cache or cache_folder())


def open_for_search(job: "JobFile", *, url: str | None, token: str | None, project: str | None) -> RecordSet:
    """Return the records of a file's dataset version, in a process of a search."""
    return fetch_records(job.data.dataset, url=url, token=token, project=project)


class FetchedBlobs:
    """Blobs of the platform, to be read alone.

    Args:
        blobs: of a client.
    """

    def __init__(self, blobs: Any) -> None:  # noqa: ANN401 - `modelwright.client.blobs.Blobs`, or what reads as it
        self._blobs = blobs

    def fetch(self, digest: str, target: Path) -> None:
        """Write a blob to `target`.

        Raises:
            UnavailableError: other bytes came than those of the digest.
        """
        found = hashlib.sha256()
        with open(target, "wb") as file:
            for chunk in self._blobs.read(digest):
                found.update(chunk)
                file.write(chunk)
        if f"sha256:{found.hexdigest()}" != digest:
            raise UnavailableError(f"the bytes of {digest} came damaged; try again")

    def read_range(self, digest: str, offset: int, length: int) -> bytes:
        """Return a part of a blob; all of it before that part is read too."""
        found = bytearray()
        for chunk in self._blobs.read(digest):
            found += chunk
            if len(found) >= offset + length:
                break
        return bytes(found[offset : offset + length])

    def put_file(self, path: Path) -> str:
        """Refuse: these blobs are read alone.

        Raises:
            InvalidError: always.
        """
        raise InvalidError(f"{path} is not sent: records of the platform are only read here; use `dataset push`")
