"""Datasets and their immutable versions."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelwright.client.jobs import Jobs
from modelwright.client.records import Dataset, DatasetVersion, Job, Sample
from modelwright.client.resource import Resource, part
from modelwright.client.uploads import Progress, Uploads


class Datasets(Resource):
    """Datasets of the project. A `ref` reads `digits` (its newest), `digits:3` or `sha256:…`."""

    def list(self, *, page_size: int = 0) -> Iterator[Dataset]:
        """Yield every dataset with its newest version."""
        return self._pages(Dataset, "datasets", "datasets", page_size=page_size)

    def versions(self, name: str, *, page_size: int = 0) -> Iterator[DatasetVersion]:
        """Yield the versions of a dataset, newest first."""
        return self._pages(DatasetVersion, f"datasets/{part(name)}/versions", "versions", page_size=page_size)

    def get(self, ref: str) -> DatasetVersion:
        """Return a version."""
        return self._one(DatasetVersion, "GET", f"datasets/{part(ref)}", "version")

    def delete(self, ref: str, *, force: bool = False) -> None:
        """Delete a version; its bytes go with the next collection unless something else needs them.

        Raises:
            ConflictError: runs or models came from it, and `force` is not given.
        """
        self._none("DELETE", f"datasets/{part(ref)}", params={"force": "true"} if force else None)

    def samples(self, ref: str, *, split: str = "", label: str = "", page_size: int = 0) -> Iterator[Sample]:
        """Yield the samples of a version; `split` and `label` narrow them."""
        query = {"split": split, "label": label}
        return self._pages(Sample, f"datasets/{part(ref)}/samples", "samples", query, page_size)

    def read(self, ref: str, sample_id: str) -> bytes:
        """Return a sample's bytes as they were uploaded."""
        path = self.transport.path(f"datasets/{part(ref)}/samples/{part(sample_id, keep='/')}")
        return self.transport.call("GET", path, headers={"Accept": "*/*"}).content

    def commit(
        self,
        name: str,
        uploads: Sequence[str],
        *,
        fractions: Mapping[str, float] | None = None,
        seed: int = 0,
        stratify: bool = True,
        parent: str = "",
    ) -> Job:
        """Queue the validation and splitting of complete uploads into a new version; `result` names it."""
        split: dict[str, Any] = {"fractions": dict(fractions or {}), "seed": seed, "stratify": stratify}
        body = {"name": name, "uploads": list(uploads), "split": split, "parent": parent}
        return self._one(Job, "POST", "datasets", "job", body=body)

    def push(
        self,
        name: str,
        source: str | Path,
        *,
        fractions: Mapping[str, float] | None = None,
        seed: int = 0,
        stratify: bool = True,
        parent: str = "",
        progress: Progress | None = None,
    ) -> Job:
        """Upload a folder or an archive and queue its commit; see `Uploads.push` and `commit`."""
        upload = Uploads(self.transport).push(source, progress=progress)
        return self.commit(name, [upload.id], fractions=fractions, seed=seed, stratify=stratify, parent=parent)

    def wait(self, job: Job) -> DatasetVersion:
        """Return the version that a commit made, once it has ended.

        Raises:
            JobFailedError: the commit failed; the message is the job's.
        """
        done = Jobs(self.transport).wait(job.id).successful()
        result = done.result if isinstance(done.result, dict) else {}
        return self.get(str(result.get("dataset_digest") or result.get("digest")))
