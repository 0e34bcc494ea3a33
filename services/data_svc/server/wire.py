"""Uploads, versions and samples as protobuf messages, and back."""

import json
from typing import TYPE_CHECKING

from proto.gen.modelwright.common.v1 import file_pb2
from proto.gen.modelwright.data.v1 import dataset_pb2 as pb
from services.common.errors import InvalidError
from services.common.jobs.wire import to_timestamp
from services.data_svc.engine.entities import Dataset, File, Upload, UploadState, Version
from services.data_svc.engine.split import SplitPolicy

if TYPE_CHECKING:
    from services.common.records import Record

STATES: "dict[UploadState, pb.UploadState.ValueType]" = {
    UploadState.OPEN: pb.UPLOAD_STATE_OPEN,
    UploadState.COMPLETE: pb.UPLOAD_STATE_COMPLETE,
}


def upload_to_wire(upload: Upload) -> pb.Upload:
    """Return the message for an upload."""
    return pb.Upload(
        id=upload.id,
        project=upload.project,
        filename=upload.filename,
        size=upload.size,
        received=upload.received,
        state=STATES[upload.state],
        digest=upload.digest,
        created_at=to_timestamp(upload.created_at),
    )


def version_to_wire(version: Version) -> pb.DatasetVersion:
    """Return the message for a version."""
    return pb.DatasetVersion(
        project=version.project,
        name=version.name,
        number=version.number,
        digest=version.digest,
        parent=version.parent,
        samples=version.samples,
        bytes=version.bytes,
        files=[file_pb2.File(path=file.path, digest=file.digest, size=file.size) for file in version.files],
        schema_json=json.dumps(version.schema),
        statistics_json=json.dumps(version.statistics),
        created_at=to_timestamp(version.created_at),
    )


def version_from_wire(version: pb.DatasetVersion) -> Version:
    """Return the version that a message stands for."""
    try:
        schema, statistics = json.loads(version.schema_json or "{}"), json.loads(version.statistics_json or "{}")
    except ValueError as error:
        raise InvalidError(f"schema_json or statistics_json is no JSON: {error}", field="version") from error
    return Version(
        project=version.project,
        name=version.name,
        number=version.number,
        digest=version.digest,
        parent=version.parent,
        samples=version.samples,
        bytes=version.bytes,
        files=tuple(File(path=file.path, digest=file.digest, size=file.size) for file in version.files),
        schema=schema,
        statistics=statistics,
    )


def dataset_to_wire(dataset: Dataset) -> pb.Dataset:
    """Return the message for a dataset."""
    return pb.Dataset(
        project=dataset.project,
        name=dataset.name,
        latest=version_to_wire(dataset.latest),
        versions=dataset.versions,
    )


def sample_to_wire(record: "Record") -> pb.Sample:
    """Return the message for a sample."""
    return pb.Sample(
        id=record.id,
        split=record.split,
        labels=record.labels,
        media_type=record.media_type,
        digest=record.digest,
        size=record.length,
        shape=record.shape,
        duration_s=record.duration_s,
    )


def policy_from_wire(policy: pb.SplitPolicy) -> SplitPolicy:
    """Return the split policy that a message stands for."""
    return SplitPolicy(fractions=dict(policy.fractions), seed=policy.seed, stratify=policy.stratify)
