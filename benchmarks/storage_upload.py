"""Upload through the parts writer against the SDK's own put_object, to the same S3 (`rclone serve s3`).

    python -m benchmarks.storage_upload [MiB]

Prints one table and keeps it under `results/`. The ways take turns, so that a busy machine slows all of
them.
"""

import asyncio
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from minio import Minio

from benchmarks.keep import record
from benchmarks.s3 import KEY, SECRET, s3_server
from services.common.settings import CommonSettings
from services.common.storage import Storage, open_storage, write_parts, write_parts_sync

CHUNK_BYTES = 64 << 10
ROUNDS = 10


def ways(storage: Storage, sdk: Minio, data: bytes) -> dict[str, Callable[[int], object]]:
    """Return what is compared: each takes the number of the round."""
    chunks = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]

    async def feed() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def note(offset: int, size: int, digest: str) -> None:
        await asyncio.sleep(0)

    def direct(number: int) -> object:
        return sdk.put_object(
            bucket_name="bench", object_name=f"direct/{number}", data=io.BytesIO(data), length=len(data)
        )

    return {
        "minio put_object": direct,
        "write_parts (asyncio)": lambda n: asyncio.run(write_parts(storage, f"a{n}", 0, feed(), note)),
        "write_parts_sync": lambda n: write_parts_sync(storage, f"s{n}", 0, chunks, lambda *_: None),
        "Storage.put (stream)": lambda n: storage.put(f"stream/{n}", iter(chunks)),
    }


def main() -> None:
    """Measure and print."""
    size_mib = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    data = os.urandom(size_mib << 20)
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder)) as endpoint:
        settings = CommonSettings(
            storage_url="s3://bench", s3_endpoint=f"http://{endpoint}", s3_access_key=KEY, s3_secret_key=SECRET
        )
        sdk = Minio(endpoint=endpoint, access_key=KEY, secret_key=SECRET, secure=False, region="us-east-1")
        seconds = measure(open_storage(settings), sdk, data)
    report(size_mib, seconds)


def measure(storage: Storage, sdk: Minio, data: bytes) -> dict[str, list[float]]:
    """Return the seconds of each way; they take turns, and each begins as often as the others."""
    turns = list(ways(storage, sdk, data).items())
    seconds: dict[str, list[float]] = {}
    for number in range(ROUNDS):
        first = number % len(turns)
        for name, way in turns[first:] + turns[:first]:
            start = time.perf_counter()
            way(number)
            seconds.setdefault(name, []).append(time.perf_counter() - start)
            for found in list(storage.list()):
                storage.delete(found.key)
    return seconds


def report(size_mib: int, seconds: dict[str, list[float]]) -> None:
    """Print the table and keep it."""
    direct_s = statistics.median(seconds["minio put_object"])
    rows = [
        {
            "way": name,
            "MiB": size_mib,
            "median MiB/s": size_mib / statistics.median(found),
            "best MiB/s": size_mib / min(found),
            "of direct": direct_s / statistics.median(found),
        }
        for name, found in seconds.items()
    ]
    record("storage_upload", rows)


if __name__ == "__main__":
    main()
