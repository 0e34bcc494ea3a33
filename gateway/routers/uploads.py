"""Uploads: bytes straight into the shared storage; a cut one goes on where it stopped."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Query, Request, Response
from starlette.requests import ClientDisconnect

from gateway.answers import answer, router
from gateway.context import Here
from gateway.parameters import INT64_MAX, Body, FilePath, IdPath, OptionalDigest, Project, Size
from gateway.problems import OffsetError
from gateway.schemas import COMPONENTS, NOTHING, gives, problems
from proto.gen.modelwright.data.v1 import dataset_pb2
from services.common.errors import ConflictError, NotFoundError, TooLargeError
from services.common.rpc import acall
from services.common.storage import write_parts

routes = router("uploads", "/uploads")

UPLOAD = gives(COMPONENTS.ref(dataset_pb2.Upload), "The upload.")


class Announcement(Body):
    """An upload to come."""

    filename: FilePath
    size: Size
    digest: OptionalDigest = ""


@routes.post(
    "",
    status_code=201,
    summary="Announce an upload",
    responses=gives(
        COMPONENTS.ref(dataset_pb2.Upload), "The upload; complete at once if its bytes are known.", status=201
    )
    | problems(400, 409),
)
async def create_upload(project: Project, body: Announcement, here: Here) -> Response:
    """Announce a file. Bytes whose digest is known already are not sent again."""
    limit = here.settings.max_upload_bytes
    if body.size > limit:
        raise TooLargeError(f"{body.filename} has {body.size} bytes; at most {limit} are taken here")
    request = dataset_pb2.CreateUploadRequest(
        project=project, filename=body.filename, size=body.size, digest=body.digest
    )
    return answer((await acall(here.upstream.data.CreateUpload, request)).upload, 201)


@routes.get("/{upload_id}", summary="Get an upload", responses=UPLOAD | problems(404))
async def get_upload(project: Project, upload_id: IdPath, here: Here) -> Response:
    """Return an upload; `received` is where a cut one goes on."""
    return answer(await owned(here, project, upload_id))


@routes.patch(
    "/{upload_id}",
    summary="Send bytes",
    responses=UPLOAD | problems(404, 409, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def write_upload(
    project: Project,
    upload_id: IdPath,
    request: Request,
    here: Here,
    offset: Annotated[int, Query(ge=0, le=INT64_MAX, description="Where these bytes begin: the upload's `received`.")],
) -> Response:
    """Append bytes. What arrived before a cut connection is kept; the answer says how far the upload is."""
    upload = await owned(here, project, upload_id)
    if upload.state == dataset_pb2.UPLOAD_STATE_COMPLETE:
        raise ConflictError(f"upload {upload_id} is complete; use it, or announce another")
    if offset != upload.received:
        message = f"bytes from {offset} on do not follow the {upload.received} received; go on at {upload.received}"
        raise OffsetError(message, received=upload.received)
    left = upload.size - upload.received

    async def record(start: int, size: int, digest: str) -> None:
        part = dataset_pb2.RecordPartRequest(upload_id=upload_id, offset=start, size=size, digest=digest)
        await acall(here.upstream.data.RecordPart, part)

    try:
        await write_parts(
            here.blobs.storage, upload_id, offset, _chunks(request, left), record, executor=here.storage_threads
        )
    except ClientDisconnect:
        return Response(status_code=499)  # Nobody reads it; what came is kept.
    return answer(await owned(here, project, upload_id))


@routes.post("/{upload_id}:complete", summary="Complete an upload", responses=UPLOAD | problems(404, 409))
async def complete_upload(project: Project, upload_id: IdPath, here: Here) -> Response:
    """Close an upload whose bytes have all arrived; its digest is checked."""
    await owned(here, project, upload_id)
    request = dataset_pb2.CompleteUploadRequest(id=upload_id)
    return answer((await acall(here.upstream.data.CompleteUpload, request, timeout_s=600)).upload)


@routes.delete("/{upload_id}", status_code=204, summary="Give up an upload", responses=NOTHING | problems(404, 409))
async def delete_upload(project: Project, upload_id: IdPath, here: Here) -> Response:
    """Delete an upload and the bytes it received."""
    await owned(here, project, upload_id)
    await acall(here.upstream.data.DeleteUpload, dataset_pb2.DeleteUploadRequest(id=upload_id))
    return Response(status_code=204)


async def owned(here: Here, project: str, upload_id: str) -> dataset_pb2.Upload:
    """Return the upload if it is the project's."""
    found = await acall(here.upstream.data.GetUpload, dataset_pb2.GetUploadRequest(id=upload_id))
    upload: dataset_pb2.Upload = found.upload
    if upload.project != project:
        raise NotFoundError(f"project {project!r} has no upload {upload_id!r}")
    return upload


async def _chunks(request: Request, left: int) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        left -= len(chunk)
        if left < 0:
            raise TooLargeError(f"{-left} bytes more than the upload announced; announce the file's true size")
        if chunk:
            yield chunk
