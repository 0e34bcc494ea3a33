"""Uploading a file through the gateway against a direct put of the same file to the same S3.

    python -m benchmarks.upload [--mib 512] [--rounds 5]

A gateway and a data_svc that run as `modelwright up` starts them take the file twice: by plain REST (announce, one
PATCH, complete), and by the SDK's `uploads.push`, which reads and hashes the file first so that bytes the server knows
are not sent. Both against `put_object` of the minio SDK with its defaults. The three take turns, and the file's bytes
change every time. Target, for REST: over 80% of the direct put's rate.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from minio import Minio

from benchmarks.embedded import platform
from benchmarks.keep import Row, figure, record
from benchmarks.s3 import KEY, SECRET, s3_server
from modelwright import Client

BUCKET = "bench"
BLOCK = 1 << 20


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mw") as name, s3_server(Path(name) / "s3") as endpoint:
        folder = Path(name)
        file = random_file(folder / "file.bin", options.mib)
        sdk = Minio(endpoint=endpoint, access_key=KEY, secret_key=SECRET, secure=False, region="us-east-1")
        settings = {
            "MODELWRIGHT_STORAGE_URL": f"s3://{BUCKET}",
            "MODELWRIGHT_S3_ENDPOINT": f"http://{endpoint}",
            "MODELWRIGHT_S3_ACCESS_KEY": KEY,
            "MODELWRIGHT_S3_SECRET_KEY": SECRET,
        }
        with platform(folder / "home", **settings) as running, Client(running.url) as client:
            if not sdk.bucket_exists(bucket_name=BUCKET):
                sdk.make_bucket(bucket_name=BUCKET)
            ways = {
                "minio put_object": lambda: direct(sdk, file),
                "gateway, REST": lambda: by_rest(running.url, file),
                "gateway, SDK push": lambda: by_sdk(client, file),
            }
            seconds = measure(ways, sdk, file, options.rounds)
    report(options.mib, seconds)


def random_file(path: Path, mib: int) -> Path:
    """Write bytes that nothing can compress."""
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(BLOCK))
    return path


def measure(ways: dict[str, Callable[[], None]], sdk: Minio, file: Path, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way; the first round only warms."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in sorted(ways, reverse=bool(number % 2)):
            with file.open("r+b") as changed:
                changed.write(os.urandom(64))
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(time.perf_counter() - start)
            empty(sdk)
    return {name: found[1:] for name, found in seconds.items()}


def direct(sdk: Minio, file: Path) -> None:
    """Put the file with the S3 SDK alone."""
    with file.open("rb") as data:
        sdk.put_object(bucket_name=BUCKET, object_name="direct", data=data, length=file.stat().st_size)


def by_rest(url: str, file: Path) -> None:
    """Put the file through the gateway as any HTTP client would."""
    with httpx.Client(base_url=f"{url}/api/v1/projects/default", timeout=300) as http, file.open("rb") as data:
        made = (
            http.post("/uploads", json={"filename": file.name, "size": file.stat().st_size}).raise_for_status().json()
        )
        chunks = iter(lambda: data.read(BLOCK), b"")
        http.patch(f"/uploads/{made['id']}", params={"offset": 0}, content=chunks).raise_for_status()
        assert http.post(f"/uploads/{made['id']}:complete").raise_for_status().json()["state"] == "complete"


def by_sdk(client: Client, file: Path) -> None:
    """Put the file through the gateway with the SDK, its digest first."""
    assert client.uploads.push(file).state == "complete"


def empty(sdk: Minio) -> None:
    """Delete what arrived, so that the disk keeps its room and its peace."""
    for found in list(sdk.list_objects(bucket_name=BUCKET, recursive=True)):
        sdk.remove_object(bucket_name=BUCKET, object_name=str(found.object_name))


def report(mib: int, seconds: dict[str, list[float]]) -> None:
    """Print the table and keep it."""
    direct_s = statistics.median(seconds["minio put_object"])
    rows: list[Row] = [
        {
            "way": name,
            "MiB": mib,
            "median MiB/s": round(mib / statistics.median(found)),
            "best MiB/s": round(mib / min(found)),
            "worst MiB/s": round(mib / max(found)),
            "% of direct": round(100 * direct_s / statistics.median(found), 1),
        }
        for name, found in seconds.items()
    ]
    share = 100 * direct_s / statistics.median(seconds["gateway, REST"])
    peer = f"{mib / direct_s:.0f} MiB/s direct"
    record("upload", rows, [figure("upload through the gateway, of a direct put", share, "%", over=80, peer=peer)])


if __name__ == "__main__":
    main()
