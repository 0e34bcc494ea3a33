"""Collects blobs that no service names any more. Never on partial knowledge."""

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

from gateway.upstream import Upstream
from proto.gen.modelwright.common.v1 import reference_pb2
from services.common.errors import BusyError, ModelwrightError, UnavailableError
from services.common.rpc import astream
from services.common.storage import BlobStat, BlobStore

log = logging.getLogger("modelwright.gc")

REFERENCES_TIMEOUT_S = 600.0
LISTED = 100
"""Digests that the account names; the counts are of all."""


class Collector:
    """Sweeps the blob store.

    Args:
        upstream: the services that name blobs.
        blobs: the store.
        threads: carry out the listing and deleting.
        grace_s: blobs younger than this stay: their owner may be about to name them.
    """

    def __init__(self, upstream: Upstream, blobs: BlobStore, threads: Executor, grace_s: float) -> None:
        self._upstream = upstream
        self._blobs = blobs
        self._threads = threads
        self._grace_s = grace_s
        self._lock = asyncio.Lock()

    async def collect(self, *, dry_run: bool) -> dict[str, Any]:
        """Delete what is old enough and named by nobody, or only say what would go.

        Raises:
            BusyError: a collection is under way.
            UnavailableError: a service did not tell all its references; nothing was deleted.
        """
        if self._lock.locked():
            raise BusyError("a collection is under way; wait for its end", retry_after_s=10)
        async with self._lock:
            began = time.time()
            # The blobs are listed first: what is put and named after that is not among them.
            found = await self._in_thread(lambda: list(self._blobs.list_digests()))
            used = await self._references()
            unused = [one for one in found if one.digest not in used and one.age_s >= self._grace_s]
            deleted = [] if dry_run else await self._in_thread(lambda: list(self._sweep(unused)))
            return _account(found, used, unused, deleted, dry_run=dry_run, began=began)

    def _sweep(self, unused: list[BlobStat]) -> Iterator[BlobStat]:
        for one in unused:
            try:
                if self._blobs.age_s(one.digest) < one.age_s:
                    continue  # Written again since it was listed: somebody wants it.
                self._blobs.delete(one.digest)
            except ModelwrightError as error:
                log.warning("blob %s stays for now: %s", one.digest, error.message)
            else:
                yield one

    async def _references(self) -> set[str]:
        used: set[str] = set()
        for name, stub in self._upstream.references.items():
            request = reference_pb2.ListReferencesRequest()
            try:
                async for answer in astream(stub.ListReferences, request, timeout_s=REFERENCES_TIMEOUT_S):
                    used.update(answer.digests)
            except ModelwrightError as error:
                raise UnavailableError(
                    f"{name} did not tell which blobs it needs ({error.message}); nothing was deleted, try again "
                    "when every service runs"
                ) from error
        return used

    async def _in_thread(self, work: Any) -> Any:  # noqa: ANN401 - what `work` gives
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _account(
    found: list[BlobStat],
    used: set[str],
    unused: list[BlobStat],
    deleted: list[BlobStat],
    *,
    dry_run: bool,
    began: float,
) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "blobs": len(found),
        "blob_bytes": sum(one.size for one in found),
        "referenced": len(used),
        "unused": len(unused),
        "unused_bytes": sum(one.size for one in unused),
        "deleted": len(deleted),
        "deleted_bytes": sum(one.size for one in deleted),
        "digests": [one.digest for one in (unused if dry_run else deleted)[:LISTED]],
        "duration_s": round(time.time() - began, 3),
    }
