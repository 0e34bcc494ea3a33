"""Objects in a folder or in S3, content-addressed blobs over them, a local cache, and parts of uploads."""

from services.common.storage.blobs import BlobStat, BlobStore, CorruptError, blob_key
from services.common.storage.cache import BlobCache
from services.common.storage.files import written_aside
from services.common.storage.folder import FolderStorage
from services.common.storage.opening import open_storage
from services.common.storage.part_writers import AsyncRecord, Record, write_parts, write_parts_sync
from services.common.storage.parts import PART_BYTES, Part, PartCutter, delete_parts, part_key, put_part, read_parts
from services.common.storage.store import CHUNK_BYTES, Buffer, Source, Stat, Storage

__all__ = [
    "CHUNK_BYTES",
    "PART_BYTES",
    "AsyncRecord",
    "BlobCache",
    "BlobStat",
    "BlobStore",
    "Buffer",
    "CorruptError",
    "FolderStorage",
    "Part",
    "PartCutter",
    "Record",
    "Source",
    "Stat",
    "Storage",
    "blob_key",
    "delete_parts",
    "open_storage",
    "part_key",
    "put_part",
    "read_parts",
    "write_parts",
    "write_parts_sync",
    "written_aside",
]
