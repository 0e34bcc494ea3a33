"""Datasets, their versions and samples."""

import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.digest import check_digest
from services.common.errors import InvalidError, NotFoundError, TooLargeError
from services.common.names import check_name, nearest
from services.common.paging import decode_token, encode_token, page_limit
from services.common.storage import BlobStore
from services.data_svc import repository
from services.data_svc.engine.entities import Dataset, Version
from services.data_svc.settings import DataSettings

if TYPE_CHECKING:
    from services.common.records import Record
    from services.data_svc.engine.samples import SampleReader

MAX_SAMPLE_BYTES = 48 << 20
"""Bytes of a sample that fit into one answer."""
NUMBER = re.compile(r"[1-9][0-9]{0,8}")


class VersionService:
    """Finds and deletes versions, and looks into them."""

    def __init__(self, database: Database, blobs: BlobStore, settings: DataSettings) -> None:
        self._database = database
        self._blobs = blobs
        self._settings = settings
        self._reader: SampleReader | None = None
        self._lock = threading.Lock()

    def get(self, project: str, ref: str) -> Version:
        """Return the version that `digits` (its latest), `digits:3` or `sha256:...` names."""
        with self._database.read() as session:
            return resolve(session, project, ref)

    def delete(self, project: str, ref: str) -> None:
        """Forget a version; the collector then frees what no other version shares."""
        with self._database.write() as session:
            repository.delete_version(session, resolve(session, project, ref))

    def page_datasets(self, project: str, page_size: int, page_token: str) -> tuple[list[Dataset], str]:
        """Return a page of datasets by name, and the token of the next."""
        query = {"datasets": project}
        after, limit = decode_token(page_token, query), page_limit(page_size)
        with self._database.read() as session:
            found = repository.list_datasets(session, project, str(after[0]) if after else "", limit + 1)
        token = encode_token([found[limit - 1].name], query) if len(found) > limit else ""
        return found[:limit], token

    def page_versions(self, project: str, name: str, page_size: int, page_token: str) -> tuple[list[Version], str]:
        """Return a page of a dataset's versions, newest first, and the token of the next."""
        query = {"versions": project, "name": name}
        after, limit = decode_token(page_token, query), page_limit(page_size)
        with self._database.read() as session:
            found = repository.list_versions(session, project, name, int(after[0]) if after else None, limit + 1)
            if not found and after is None:
                raise _unknown(session, project, name)
        token = encode_token([found[limit - 1].number], query) if len(found) > limit else ""
        return found[:limit], token

    def page_samples(
        self, project: str, ref: str, *, split: str, label: str, page_size: int, page_token: str
    ) -> tuple[list["Record"], str]:
        """Return a page of a version's samples by id, and the token of the next."""
        digest = self.get(project, ref).digest
        query = {"samples": digest, "split": split, "label": label}
        after, limit = decode_token(page_token, query), page_limit(page_size)
        start = int(after[0]) if after else 0
        found = self._samples().page(digest, split=split, label=label, start=start, limit=limit + 1)
        token = encode_token([start + limit], query) if len(found) > limit else ""
        return found[:limit], token

    def read_sample(self, project: str, ref: str, sample_id: str) -> tuple["Record", bytes]:
        """Return a sample and its verified bytes."""
        record, data = self._samples().read(self.get(project, ref).digest, sample_id, MAX_SAMPLE_BYTES)
        if data is None:
            raise TooLargeError(
                f"sample {sample_id!r} has {record.length} bytes, more than one answer holds ({MAX_SAMPLE_BYTES}); "
                "read its range of the shard that the manifest names"
            )
        return record, data

    def references(self) -> Iterator[str]:
        """Yield the digest of every blob that a version needs, each once."""
        seen: set[str] = set()
        with self._database.read() as session:
            for digest in repository.iterate_digests(session):
                if digest not in seen:
                    seen.add(digest)
                    yield digest

    def _samples(self) -> "SampleReader":
        with self._lock:
            if self._reader is None:
                # Arrow takes tens of megabytes: loaded when somebody first looks at samples.
                from services.data_svc.engine.samples import SampleReader  # noqa: PLC0415

                self._reader = SampleReader(self._blobs, self._settings.cache(), self._settings.data_cache_bytes)
            return self._reader


def resolve(session: Session, project: str, ref: str) -> Version:
    """Return the version that a reference names.

    Raises:
        NotFoundError: there is none; the message names the nearest dataset or the newest version.
        InvalidError: the text is no reference.
    """
    if ref.startswith("sha256:"):
        found = repository.find_version(session, project, digest=check_digest(ref, "ref"))
        if not found:
            raise NotFoundError(f"project {project!r} has no dataset version {ref}")
        return found
    name, colon, number = ref.partition(":")
    check_name(name, "dataset")
    if colon and not NUMBER.fullmatch(number):
        raise InvalidError(f"{ref!r} is no dataset version; write 'name', 'name:3' or 'sha256:...'", field="ref")
    found = repository.find_version(session, project, name, int(number or 0))
    if found:
        return found
    latest = repository.find_version(session, project, name)
    if latest:
        raise NotFoundError(f"dataset {name!r} has no version {number}; its newest is {latest.number}")
    raise _unknown(session, project, name)


def _unknown(session: Session, project: str, name: str) -> NotFoundError:
    hint = nearest(name, repository.dataset_names(session, project))
    return NotFoundError(f"project {project!r} has no dataset {name!r}{hint}")
