"""`modelwright.data.v1.DatasetService`."""

from collections.abc import Iterator

import grpc

from proto.gen.modelwright.data.v1 import dataset_pb2 as pb
from proto.gen.modelwright.data.v1 import dataset_pb2_grpc
from services.common.errors import InvalidError
from services.common.jobs.wire import job_to_wire, lease_from_wire
from services.common.storage import Part
from services.data_svc.server import wire
from services.data_svc.service import CommitService, NewVersion, UploadService, VersionService

Context = grpc.ServicerContext


class DatasetServer(dataset_pb2_grpc.DatasetServiceServicer):
    """Uploads, commits and versions over gRPC."""

    def __init__(self, uploads: UploadService, commits: CommitService, versions: VersionService) -> None:
        self._uploads = uploads
        self._commits = commits
        self._versions = versions

    def CreateUpload(self, request: pb.CreateUploadRequest, context: Context) -> pb.CreateUploadResponse:
        """Open an upload, or return the one that has the digest."""
        upload = self._uploads.create(request.project, request.filename, request.size, request.digest)
        return pb.CreateUploadResponse(upload=wire.upload_to_wire(upload))

    def GetUpload(self, request: pb.GetUploadRequest, context: Context) -> pb.GetUploadResponse:
        """Return an upload."""
        return pb.GetUploadResponse(upload=wire.upload_to_wire(self._uploads.get(request.id)))

    def RecordPart(self, request: pb.RecordPartRequest, context: Context) -> pb.RecordPartResponse:
        """Note a stored part."""
        part = Part(offset=request.offset, size=request.size, digest=request.digest)
        return pb.RecordPartResponse(upload=wire.upload_to_wire(self._uploads.record_part(request.upload_id, part)))

    def WriteUpload(
        self, request_iterator: Iterator[pb.WriteUploadRequest], context: Context
    ) -> pb.WriteUploadResponse:
        """Store and note the bytes themselves."""
        first = next(request_iterator, None)
        if first is None or not first.upload_id:
            raise InvalidError("the first message names no upload", field="upload_id")

        def chunks() -> Iterator[bytes]:
            yield first.data
            for message in request_iterator:
                yield message.data

        upload = self._uploads.write(first.upload_id, first.offset, chunks())
        return pb.WriteUploadResponse(upload=wire.upload_to_wire(upload))

    def CompleteUpload(self, request: pb.CompleteUploadRequest, context: Context) -> pb.CompleteUploadResponse:
        """Close an upload."""
        return pb.CompleteUploadResponse(upload=wire.upload_to_wire(self._uploads.complete(request.id)))

    def DeleteUpload(self, request: pb.DeleteUploadRequest, context: Context) -> pb.DeleteUploadResponse:
        """Delete an upload."""
        self._uploads.delete(request.id)
        return pb.DeleteUploadResponse()

    def CommitDataset(self, request: pb.CommitDatasetRequest, context: Context) -> pb.CommitDatasetResponse:
        """Queue a commit, or only check it."""
        asked = NewVersion(
            project=request.project,
            name=request.name,
            upload_ids=list(request.upload_ids),
            split=wire.policy_from_wire(request.split),
            parent=request.parent,
            idempotency_key=request.idempotency_key,
        )
        if request.validate_only:
            self._commits.check(asked)
            return pb.CommitDatasetResponse()
        return pb.CommitDatasetResponse(job=job_to_wire(self._commits.submit(asked)))

    def RecordVersion(self, request: pb.RecordVersionRequest, context: Context) -> pb.RecordVersionResponse:
        """Make a committed version known."""
        version = self._commits.record(lease_from_wire(request.lease), wire.version_from_wire(request.version))
        return pb.RecordVersionResponse(version=wire.version_to_wire(version))

    def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:
        """Return a page of datasets."""
        found, token = self._versions.page_datasets(request.project, request.page_size, request.page_token)
        return pb.ListDatasetsResponse(datasets=[wire.dataset_to_wire(d) for d in found], next_page_token=token)

    def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:
        """Return a page of a dataset's versions."""
        found, token = self._versions.page_versions(
            request.project, request.name, request.page_size, request.page_token
        )
        return pb.ListVersionsResponse(versions=[wire.version_to_wire(v) for v in found], next_page_token=token)

    def GetVersion(self, request: pb.GetVersionRequest, context: Context) -> pb.GetVersionResponse:
        """Return a version."""
        return pb.GetVersionResponse(version=wire.version_to_wire(self._versions.get(request.project, request.ref)))

    def DeleteVersion(self, request: pb.DeleteVersionRequest, context: Context) -> pb.DeleteVersionResponse:
        """Forget a version."""
        self._versions.delete(request.project, request.ref)
        return pb.DeleteVersionResponse()

    def ListSamples(self, request: pb.ListSamplesRequest, context: Context) -> pb.ListSamplesResponse:
        """Return a page of a version's samples."""
        found, token = self._versions.page_samples(
            request.project,
            request.ref,
            split=request.split,
            label=request.label,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListSamplesResponse(samples=[wire.sample_to_wire(r) for r in found], next_page_token=token)

    def ReadSample(self, request: pb.ReadSampleRequest, context: Context) -> pb.ReadSampleResponse:
        """Return a sample with its bytes."""
        record, data = self._versions.read_sample(request.project, request.ref, request.sample_id)
        return pb.ReadSampleResponse(sample=wire.sample_to_wire(record), data=data)
