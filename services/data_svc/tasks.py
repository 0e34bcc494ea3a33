"""Jobs of the data service: each body runs in a worker's child process."""

import json
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from proto.gen.modelwright.common.v1.file_pb2 import File
from proto.gen.modelwright.data.v1 import dataset_pb2 as pb
from proto.gen.modelwright.data.v1.dataset_pb2_grpc import DatasetServiceStub
from services.common.digest import digest_chunks
from services.common.errors import InvalidError
from services.common.jobs.context import JobContext, JobStopped
from services.common.jobs.wire import lease_to_wire
from services.common.rpc import Peer, call
from services.common.storage import BlobStore, Storage, open_storage, read_parts
from services.data_svc.engine.archives import Source
from services.data_svc.engine.commit import CommitOptions, Committed, commit_files
from services.data_svc.engine.limits import ScanLimits
from services.data_svc.engine.parts import open_parts, read_index
from services.data_svc.engine.split import SplitPolicy
from services.data_svc.settings import DataSettings

SCRATCH_KEEP_S = 7 * 86400.0
"""Scratch of another job is removed once it is this old; no commit runs that long."""
LEAST_SHARE = 0.02
"""No estimate of the time left is given before this much is done."""


def commit(context: JobContext) -> dict[str, Any]:
    """Turn uploads into a dataset version. Safe to repeat: the same uploads give the same digest."""
    settings = DataSettings(**dict(context.settings))
    storage = open_storage(settings)
    spec = context.job.spec
    options = CommitOptions(split=SplitPolicy(**spec["split"]), limits=ScanLimits.of(settings), parent=spec["parent"])
    scratch = settings.scratch() / context.job.id
    _sweep(settings.scratch(), scratch)
    try:
        sources = [_source(storage, upload, context) for upload in spec["uploads"]]
        made = commit_files(sources, options, BlobStore(storage), scratch, _Reporter(context))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for warning in made.statistics["warnings"]:
        print(f"warning: {warning}")  # noqa: T201 - standard output is the job's log
    version = _record(context, settings, made)
    return {
        "name": version.name,
        "number": version.number,
        "digest": version.digest,
        "samples": version.samples,
        "bytes": version.bytes,
        "splits": made.schema["splits"],
        "labels": made.schema["labels"],
    }


class _Reporter:
    """Tells the worker how far a commit is, and leaves when asked to."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._began = time.monotonic()

    def __call__(self, share: float, message: str) -> None:
        if self._context.stop_requested:
            raise JobStopped
        elapsed = time.monotonic() - self._began
        eta_s = elapsed * (1 - share) / share if share > LEAST_SHARE else None
        self._context.report(progress=share, eta_s=eta_s, message=message)


def _sweep(folder: Path, own: Path) -> None:
    # Attempts that were killed could not clean up behind themselves.
    for left in folder.iterdir() if folder.exists() else ():
        if left == own or left.stat().st_mtime < time.time() - SCRATCH_KEEP_S:
            shutil.rmtree(left, ignore_errors=True)


def _source(storage: Storage, upload: Mapping[str, Any], context: JobContext) -> Source:
    parts = read_index(storage, upload["id"])
    if upload["digest"] and not upload["verified"]:
        context.report(progress=0.0, message=f"verifying {upload['filename']}")
        found = digest_chunks(read_parts(storage, upload["id"], parts))
        if found != upload["digest"]:
            raise InvalidError(
                f"upload {upload['id']} ({upload['filename']}) was declared as {upload['digest']}, but its bytes have "
                f"{found}; nothing was committed: delete it and upload the file again"
            )
    return Source(
        filename=upload["filename"], size=upload["size"], open=partial(open_parts, storage, upload["id"], parts)
    )


def _record(context: JobContext, settings: DataSettings, made: Committed) -> pb.DatasetVersion:
    written = made.written
    files = [File(path="manifest.arrow", digest=written.digest, size=written.manifest_size)]
    files += [
        File(path=f"shards/{number:05}.bin", digest=shard.digest, size=shard.size)
        for number, shard in enumerate(written.shards)
    ]
    version = pb.DatasetVersion(
        project=context.job.project,
        name=context.job.spec["name"],
        digest=written.digest,
        parent=context.job.spec["parent"],
        samples=written.records,
        bytes=made.statistics["bytes"],
        files=files,
        schema_json=json.dumps(made.schema),
        statistics_json=json.dumps(made.statistics),
    )
    peer = Peer(settings.data_address, settings.tls)
    try:
        request = pb.RecordVersionRequest(lease=lease_to_wire(context.lease), version=version)
        answer = call(peer.stub(DatasetServiceStub).RecordVersion, request, timeout_s=60)
    finally:
        peer.close()
    recorded: pb.DatasetVersion = answer.version
    print(f"committed {recorded.name}:{recorded.number} ({recorded.digest})")  # noqa: T201 - the job's log
    return recorded
