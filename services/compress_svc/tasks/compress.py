"""The body of a `compress` job."""

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.common.errors import InvalidError
from services.common.jobs.context import JobContext, JobStopped
from services.common.jobs.wire import lease_to_wire
from services.common.packages import Package, PackageFile, download_package, read_package
from services.common.records import RecordSet
from services.common.rpc import Peer
from services.common.storage import BlobStore, open_storage
from services.compress_svc.engine.compression import Compressor, Parent
from services.compress_svc.engine.progress import Stopped, Watch
from services.compress_svc.engine.recipe import Recipe
from services.compress_svc.tasks.children import failed, write_child
from services.compress_svc.tasks.remote import Made, RemoteCompression, RemoteRegistry, Version, manifest_digest
from services.compress_svc.tasks.samples import Samples

log = logging.getLogger("modelwright.compress")


def compress(context: JobContext) -> dict[str, Any]:
    """Make, measure and register the variants of the compression that the job names.

    Safe to repeat: what an earlier attempt recorded or registered is not made again.

    Returns:
        `{"variants": [{name, digest, verdict, reason, card}]}`.

    Raises:
        JobStopped: asked to leave; finished variants are recorded.
        StaleLeaseError: another worker has the job.
        InvalidError: not one variant could be made, or model and dataset do not fit each other.
    """
    settings, job = context.settings, context.job
    blobs = BlobStore(open_storage(settings))
    registry = RemoteRegistry(Peer(settings.train_address, settings.tls), job.project)
    record_book = RemoteCompression(
        Peer(settings.compress_address, settings.tls), job.subject, lease_to_wire(context.lease)
    )
    done = {found.name for found in record_book.variants()}
    version = registry.version(str(job.spec["model"]))
    if job.attempt > 1:
        done |= _adopt(registry, record_book, version, done)
    digest = manifest_digest(Peer(settings.data_address, settings.tls), job.project, str(job.spec["dataset"]))
    with _scratch(settings.home / "work", job.id) as folder:
        package = read_package(download_package(_files(version), folder / "parent", blobs))
        records = RecordSet.open(blobs, digest, settings.home / "cache" / "records")
        work = _Work(context=context, version=version, package=package, folder=folder, blobs=blobs)
        for made in work.variants(Samples(package, records), digest, frozenset(done)):
            if made.digest:
                registry.register(version, made)
            record_book.record(made)
            log.info("%s: %s", made.name, made.reason)
    return _result(record_book)


class _Work:
    """One parent's variants, made in a folder."""

    def __init__(
        self, *, context: JobContext, version: Version, package: Package, folder: Path, blobs: BlobStore
    ) -> None:
        self._context, self._version, self._package = context, version, package
        self._folder, self._blobs = folder, blobs
        self._started = time.monotonic()

    def variants(self, samples: Samples, dataset: str, done: frozenset[str]) -> Iterator[Made]:
        """Yield each variant, its files in the storage, or the reason that it failed for."""
        golden = self._package.golden
        compressor = Compressor(
            Parent(model=self._package.model.read_bytes(), golden_inputs=golden.inputs, golden_outputs=golden.outputs),
            Recipe.from_mapping(self._context.job.spec["recipe"]),
            calibration=samples.calibration,
            evaluation=samples.evaluation,
        )
        watch = Watch(report=self._report, stop_requested=lambda: self._context.stop_requested)
        lineage = {"compression": self._context.job.subject, "dataset": dataset}
        try:
            for outcome in compressor.run(watch, done):
                if outcome.failed:
                    yield failed(outcome)
                    continue
                child = self._folder / f"child-{outcome.recipe.name}"
                yield write_child(
                    child,
                    package=self._package,
                    version=self._version,
                    outcome=outcome,
                    lineage=lineage,
                    blobs=self._blobs,
                )
        except Stopped:
            raise JobStopped from None

    def _report(self, fraction: float, message: str) -> None:
        spent = time.monotonic() - self._started
        eta_s = spent * (1.0 - fraction) / fraction if fraction > 0.05 else None  # noqa: PLR2004 - too little to go by
        self._context.report(progress=fraction, eta_s=eta_s, message=message)


def _adopt(registry: RemoteRegistry, record_book: RemoteCompression, version: Version, done: set[str]) -> set[str]:
    """Record children that a lost attempt registered but could not record any more; return their names."""
    found = {made.name: made for made in registry.children(version, record_book.compression_id)}
    for name, made in found.items():
        if name not in done:
            record_book.record(made)
    return set(found)


def _files(version: Version) -> list[PackageFile]:
    return [PackageFile(path=file.path, digest=file.digest, size=file.size) for file in version.files]


def _result(record_book: RemoteCompression) -> dict[str, Any]:
    variants = record_book.variants()
    if variants and not any(found.digest for found in variants):
        raise InvalidError("no variant could be made: " + "; ".join(found.reason for found in variants))
    return {
        "variants": [
            {
                "name": found.name,
                "digest": found.digest,
                "verdict": found.verdict,
                "reason": found.reason,
                "card": found.card,
            }
            for found in variants
        ]
    }


@contextmanager
def _scratch(parent: Path, name: str) -> Iterator[Path]:
    folder = parent / name
    # What a lost attempt left is in nobody's way and of no use.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
