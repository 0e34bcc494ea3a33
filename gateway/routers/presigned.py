"""Presigned addresses: bytes between a caller and the object store, past the gateway, without the store's keys."""

import asyncio
from typing import Annotated

from fastapi import Query, Response

from gateway.answers import answer, router
from gateway.context import Here
from gateway.parameters import Body, DigestPath, IdPath, OptionalDigest, Project, Size
from gateway.routers.uploads import UPLOAD, owned
from gateway.schemas import fields, gives, problems
from proto.gen.modelwright.data.v1 import dataset_pb2
from services.common.digest import check_digest
from services.common.errors import ConflictError, InvalidError, NotFoundError
from services.common.rpc import acall
from services.common.storage import part_key

routes = router("presigned", "")

ADDRESS = gives(
    fields({"url": {"type": "string"}, "method": {"type": "string"}, "expires_s": {"type": "integer"}}),
    "The address; whoever has it may use it until it expires.",
)
Expiry = Annotated[int, Query(ge=1, le=7 * 86_400, description="Seconds for which the address holds.")]


class Part(Body):
    """A part of an upload: where it begins, its bytes and their digest."""

    offset: Size
    size: Size
    digest: OptionalDigest


@routes.post("/blobs/{digest}:presign", summary="Presign a blob", responses=ADDRESS | problems(404, 409))
async def presign_blob(project: Project, digest: DigestPath, here: Here, expires_s: Expiry = 3600) -> Response:
    """Return an address from which the store itself gives the blob."""
    await asyncio.to_thread(here.blobs.size, digest)
    return _address(await asyncio.to_thread(here.blobs.presign_get, digest, expires_s), "GET", expires_s)


@routes.post("/uploads/{upload_id}:presign", summary="Presign a part", responses=ADDRESS | problems(400, 404, 409))
async def presign_part(
    project: Project, upload_id: IdPath, body: Part, here: Here, expires_s: Expiry = 3600
) -> Response:
    """Return an address to which the part's bytes are put; then `:record` it."""
    await owned(here, project, upload_id)
    key = part_key(upload_id, body.offset, check_digest(body.digest, "digest"))
    return _address(await asyncio.to_thread(here.blobs.storage.presign_put, key, expires_s), "PUT", expires_s)


@routes.post("/uploads/{upload_id}:record", summary="Record a part", responses=UPLOAD | problems(400, 404, 409))
async def record_part(project: Project, upload_id: IdPath, body: Part, here: Here) -> Response:
    """Note a part that was put to its presigned address. Its bytes are verified when the upload is used."""
    await owned(here, project, upload_id)
    key = part_key(upload_id, body.offset, check_digest(body.digest, "digest"))
    try:
        size = await asyncio.to_thread(here.blobs.storage.size, key)
    except NotFoundError:
        raise ConflictError("the part is not in the store; put its bytes to the presigned address first") from None
    if size != body.size:
        raise InvalidError(f"the store holds {size} bytes of this part, not {body.size}; put it again", field="size")
    part = dataset_pb2.RecordPartRequest(upload_id=upload_id, offset=body.offset, size=body.size, digest=body.digest)
    return answer((await acall(here.upstream.data.RecordPart, part)).upload)


def _address(url: str | None, method: str, expires_s: int) -> Response:
    if url is None:
        raise ConflictError("this platform's storage is a folder and has no presigned addresses; use the gateway's own")
    return answer({"url": url, "method": method, "expires_s": expires_s})
