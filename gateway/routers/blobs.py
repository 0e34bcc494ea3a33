"""Blobs: bytes by their digest, put once, read whole or in ranges."""

import asyncio
import queue
import re
from collections.abc import Iterator
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from gateway.answers import answer, router
from gateway.context import Gateway, Here
from gateway.parameters import DigestPath, Project
from gateway.problems import document
from gateway.schemas import fields, gives, gives_bytes, problems
from services.common.errors import InvalidError
from services.common.storage import BlobStore, CorruptError

routes = router("blobs", "/blobs")

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
WAITING_CHUNKS = 8
"""Chunks between the network and the storage: the memory that a slow store costs."""
BINARY = {"schema": {"type": "string", "format": "binary"}}


@routes.put(
    "/{digest}",
    status_code=201,
    summary="Put a blob",
    responses=gives(
        fields({"digest": {"type": "string"}, "size": {"type": "integer"}}), "The bytes are kept.", status=201
    )
    | problems(507),
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": BINARY}}},
)
async def put_blob(project: Project, digest: DigestPath, request: Request, here: Here) -> Response:
    """Keep the bytes under their digest. They are verified; what does not match leaves nothing behind."""
    size = await _put(here, digest, request)
    return answer({"digest": digest, "size": size}, 201)


@routes.get(
    "/{digest}",
    summary="Get a blob",
    responses=gives_bytes("The bytes.")
    | {206: {"description": "The range of them.", "content": {"application/octet-stream": BINARY}}}
    | problems(404, 416),
)
async def get_blob(project: Project, digest: DigestPath, request: Request, here: Here) -> Response:
    """Return the bytes. `Range: bytes=…` is answered; a whole blob is verified while it is sent."""
    size = await asyncio.to_thread(here.blobs.size, digest)
    headers = _headers(digest, size)
    if request.headers.get("if-none-match", "") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    found = RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or not any(found.groups()):
        return _stream(here.blobs.stream(digest), headers | {"Content-Length": str(size)}, 200)
    start, length = _bounds(found[1], found[2], size)
    if length <= 0:
        detail = f"the range lies outside the blob's {size} bytes; ask for less"
        return document(
            416,
            "range",
            "Range not satisfiable",
            detail,
            instance=request.url.path,
            headers={"Content-Range": f"bytes */{size}"},
        )
    headers |= {"Content-Length": str(length), "Content-Range": f"bytes {start}-{start + length - 1}/{size}"}
    return _stream(here.blobs.open_range(digest, start, length), headers, 206)


@routes.head("/{digest}", summary="Ask for a blob", responses=problems(404) | {200: {"description": "It is kept."}})
async def head_blob(project: Project, digest: DigestPath, here: Here) -> Response:
    """Say whether the blob is kept, and its size."""
    size = await asyncio.to_thread(here.blobs.size, digest)
    return Response(status_code=200, headers=_headers(digest, size) | {"Content-Length": str(size)})


def _headers(digest: str, size: int) -> dict[str, str]:
    return {
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=31536000, immutable",
        "Content-Disposition": f'attachment; filename="{digest.removeprefix("sha256:")}"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


def _stream(chunks: Iterator[bytes], headers: dict[str, str], status: int) -> Response:
    return StreamingResponse(
        iterate_in_threadpool(chunks), status_code=status, headers=headers, media_type="application/octet-stream"
    )


def _bounds(first: str, last: str, size: int) -> tuple[int, int]:
    """Return start and length of `bytes=first-last` (RFC 9110, section 14.1.2)."""
    if not first:
        length = min(int(last), size)
        return size - length, length
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    return start, end - start + 1


async def _put(here: Gateway, digest: str, request: Request) -> int:
    """Pass the body to a thread that hashes and stores it, and return its size."""
    waiting: queue.Queue[bytes | BaseException | None] = queue.Queue(WAITING_CHUNKS)
    loop = asyncio.get_running_loop()
    storing = loop.run_in_executor(here.storage_threads, _store, here.blobs, digest, waiting)
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if chunk:
                await _hand_over(waiting, chunk, storing)
    except BaseException as error:
        await _hand_over(waiting, ConnectionAbortedError("the body was cut"), storing)
        await asyncio.wait((storing,))
        if isinstance(error, ClientDisconnect):
            raise InvalidError("the connection ended within the body; send it again") from error
        raise
    await _hand_over(waiting, None, storing)
    await storing
    return size


def _store(blobs: BlobStore, digest: str, waiting: "queue.Queue[bytes | BaseException | None]") -> None:
    def chunks() -> Iterator[bytes]:
        while (chunk := waiting.get()) is not None:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk

    try:
        blobs.put_stream(chunks(), expected=digest)
    except CorruptError as error:
        raise InvalidError(error.message, field="digest") from error


async def _hand_over(waiting: "queue.Queue[Any]", item: object, storing: "asyncio.Future[None]") -> None:
    """Give the storing thread an item without blocking the loop; nothing if the thread has ended."""
    while not storing.done():
        try:
            waiting.put_nowait(item)
        except queue.Full:
            await asyncio.sleep(0.002)
        else:
            return
