"""The `minio` client with bounded waits, pooled connections and a parallel multipart upload."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

import certifi
import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.datatypes import Part
from urllib3.util import Retry, Timeout

from services.common.errors import TooLargeError
from services.common.storage.store import Buffer

PART_BYTES = 16 << 20
"""Size of a part of a multipart upload; every part but the last has it."""
PARALLEL_PARTS = 4
"""Parts of one object in flight at once; each holds PART_BYTES of memory."""
MAX_PARTS = 10_000
"""S3's own limit."""
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 60.0
_CONTENT_HASH = "x-amz-content-sha256"


def connection_pool(connections: int, *, verify: bool) -> urllib3.PoolManager:
    """Return a pool that keeps up to `connections` open and gives up after about 7 s without a connection."""
    return urllib3.PoolManager(
        timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        maxsize=connections,
        cert_reqs="CERT_REQUIRED" if verify else "CERT_NONE",
        ca_certs=certifi.where(),
        retries=Retry(total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504], raise_on_status=False),
    )


class S3Client(Minio):
    """Adds what the SDK lacks: bodies whose digest is known, and a multipart upload that leaves no threads."""

    def put_bytes(self, bucket: str, key: str, data: Buffer, digest: str = "") -> None:
        """Put one object in one request; its SHA-256 is signed, so the store checks what arrived."""
        self._put_object(bucket, key, data, _content_hash(data, digest))  # type: ignore[arg-type]  # any buffer can be sent

    def put_multipart(self, bucket: str, key: str, parts: Iterable[Buffer]) -> int:
        """Put parts of PART_BYTES (the last may be shorter), several at once, and return the object's size."""
        upload_id = self._create_multipart_upload(bucket, key, {"Content-Type": "application/octet-stream"})
        try:
            sent = list(self._send_parts(bucket, key, upload_id, parts))
            self._complete_multipart_upload(bucket, key, upload_id, [part for part, _ in sent])
        except BaseException:
            self._abandon(bucket, key, upload_id)
            raise
        return sum(size for _, size in sent)

    def _send_parts(self, bucket: str, key: str, upload_id: str, parts: Iterable[Buffer]) -> Iterator[tuple[Part, int]]:
        running: deque[Future[tuple[Part, int]]] = deque()
        with ThreadPoolExecutor(PARALLEL_PARTS, thread_name_prefix="s3-part") as pool:
            for number, data in enumerate(parts, 1):
                if number > MAX_PARTS:
                    raise TooLargeError(f"object {key!r} is larger than {MAX_PARTS * PART_BYTES >> 30} GiB; split it")
                running.append(pool.submit(self._send_part, bucket, key, upload_id, number, data))
                if len(running) >= PARALLEL_PARTS:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()

    def _send_part(self, bucket: str, key: str, upload_id: str, number: int, data: Buffer) -> tuple[Part, int]:
        headers = _content_hash(data, "")
        etag = self._upload_part(bucket, key, data, headers, upload_id, number)  # type: ignore[arg-type]  # any buffer can be sent
        return Part(number, etag), len(data)

    def _abandon(self, bucket: str, key: str, upload_id: str) -> None:
        try:
            self._abort_multipart_upload(bucket, key, upload_id)
        except Exception:
            return

    def _build_headers(
        self,
        host: str,
        headers: Any = None,  # noqa: ANN401 - the SDK's own type of headers
        body: bytes | None = None,
        creds: Credentials | None = None,
    ) -> tuple[Any, datetime]:
        """Sign with the hash that was given, where the SDK would hash the body once more."""
        known = (headers or {}).get(_CONTENT_HASH)
        if not (known and creds):
            return super()._build_headers(host, headers, body, creds)
        built, date = super()._build_headers(host, headers, None, creds)
        built.pop("Content-MD5", None)
        built[_CONTENT_HASH] = known
        built["Content-Length"] = str(len(body or b""))
        return built, date


def _content_hash(data: Buffer, digest: str) -> dict[str, Any]:
    known = digest.removeprefix("sha256:") or hashlib.sha256(data).hexdigest()
    return {_CONTENT_HASH: known, "Content-Type": "application/octet-stream"}
