"""Record sets: an Arrow manifest over shards of concatenated bytes, all of them blobs.

Write with `RecordWriter`, read with `RecordSet.open(blobs, digest, cache)`, order with `SampleOrder`.
"""

from services.common.records.cache import ShardCache
from services.common.records.manifest import Blobs, Manifest, Record, Shard
from services.common.records.order import SampleOrder
from services.common.records.reader import RecordSet
from services.common.records.writer import RecordWriter, WrittenSet

__all__ = [
    "Blobs",
    "Manifest",
    "Record",
    "RecordSet",
    "RecordWriter",
    "SampleOrder",
    "Shard",
    "ShardCache",
    "WrittenSet",
]
