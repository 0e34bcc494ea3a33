"""The storage that the settings name."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from services.common.errors import InvalidError
from services.common.settings import CommonSettings
from services.common.storage.folder import FolderStorage
from services.common.storage.store import Storage

CONNECTIONS = 64
"""Connections to S3 kept open by one process."""


def open_storage(settings: CommonSettings) -> Storage:
    """Return the folder or bucket of `settings.storage()`; it is made if it is missing.

    Raises:
        InvalidError: the address is none of a folder and `s3://bucket[/prefix]`, or the endpoint is no URL.
        UnavailableError: S3 does not answer, or the folder cannot be made.
        UnauthorizedError: S3 refuses the keys.
    """
    where = settings.storage()
    if where.startswith("s3://"):
        return _open_bucket(where, settings)
    if "://" in where:
        raise InvalidError(
            f"storage_url {where!r} is not known; give a folder or s3://bucket/prefix", field="storage_url"
        )
    return FolderStorage(Path(where).absolute())


def _open_bucket(where: str, settings: CommonSettings) -> Storage:
    from services.common.storage.s3 import S3Storage  # noqa: PLC0415 - a folder needs no S3 client
    from services.common.storage.s3_client import S3Client, connection_pool  # noqa: PLC0415 - the same

    bucket, _, prefix = where.removeprefix("s3://").strip("/").partition("/")
    endpoint = urlsplit(settings.s3_endpoint)
    if endpoint.scheme not in {"http", "https"} or not endpoint.hostname:
        raise InvalidError(
            f"s3_endpoint {settings.s3_endpoint!r} is no address; give http(s)://host:port", field="s3_endpoint"
        )
    secure = endpoint.scheme == "https"
    client = S3Client(
        endpoint=endpoint.netloc,
        access_key=settings.s3_access_key or None,
        secret_key=settings.s3_secret_key or None,
        secure=secure,
        # Amazon's hosts carry their region; others have one, and asking for it costs a request.
        region=None if endpoint.hostname.endswith("amazonaws.com") else os.environ.get("AWS_REGION", "us-east-1"),
        http_client=connection_pool(CONNECTIONS, verify=secure),
    )
    storage = S3Storage(client, bucket, f"{prefix}/" if prefix else "", settings.s3_endpoint)
    storage.make_bucket()
    return storage
