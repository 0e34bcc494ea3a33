"""Uploads that go to the object store itself, past the gateway, by presigned addresses."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from modelwright.client.records import Upload, to_record
from modelwright.client.resource import part
from services.common.digest import digest_bytes, digest_file
from services.common.errors import UnavailableError

if TYPE_CHECKING:
    from modelwright.client.uploads import Uploads

PART_BYTES = 64 << 20


def push_direct(uploads: "Uploads", path: Path) -> Upload:
    """Send a file's parts straight to the store and complete the upload; a cut one goes on where it stopped.

    Raises:
        ConflictError: the platform's storage is a folder and has no presigned addresses.
        UnavailableError: the store did not take a part; call again to go on.
    """
    upload = uploads.create(path.name, path.stat().st_size, digest_file(path))
    with path.open("rb") as file, httpx.Client(timeout=300) as store:
        while upload.state != "complete" and upload.received < upload.size:
            file.seek(upload.received)
            upload = _send_part(uploads, store, upload, file.read(PART_BYTES))
    return upload if upload.state == "complete" else uploads.complete(upload.id)


def _send_part(uploads: "Uploads", store: httpx.Client, upload: Upload, data: bytes) -> Upload:
    body = {"offset": upload.received, "size": len(data), "digest": digest_bytes(data)}
    address = _post(uploads, upload.id, "presign", body)
    try:
        store.put(address["url"], content=data).raise_for_status()
    except httpx.HTTPError as error:
        raise UnavailableError(f"the store did not take the part at {upload.received} ({error}); call again") from error
    return to_record(Upload, _post(uploads, upload.id, "record", body))


def _post(uploads: "Uploads", upload_id: str, action: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - decoded JSON
    path = uploads.transport.path(f"uploads/{part(upload_id)}:{action}")
    return uploads.transport.json("POST", path, body=body)
