"""How many small files a commit takes a second: a tar through the service's gRPC and a worker's child.

    python -m benchmarks.dataset_commit [--files 100000] [--s3]

Counts from the commit's submission to the recorded version, which includes unpacking, decoding every
picture, digests, splitting, shards, manifest and the job's own way through the worker.
"""

import argparse
import io
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.keep import figure, record
from benchmarks.s3 import KEY, SECRET, s3_server
from proto.gen.modelwright.common.v1 import job_pb2
from proto.gen.modelwright.common.v1.job_pb2_grpc import JobServiceStub
from proto.gen.modelwright.data.v1 import dataset_pb2 as pb
from proto.gen.modelwright.data.v1.dataset_pb2_grpc import DatasetServiceStub
from services.common.jobs.worker import Worker
from services.common.rpc import Peer, call
from services.data_svc.__main__ import build_server, employer
from services.data_svc.settings import DataSettings

CLASSES = 10
PICTURE_SIDE = 28
TEXT_BYTES = 1000
CHUNK_BYTES = 1 << 20
TARGET = 5000


class Silence:
    """A bell that nobody hears: the worker is told directly."""

    def ring(self, job_id: str, queue: str) -> None:
        """Do nothing."""


def write_tar(path: Path, kind: str, files: int) -> None:
    """Write `files` different small files of one kind, in class folders."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for number in range(files):
            data = _picture(rng) if kind == "png" else rng.bytes(TEXT_BYTES // 2).hex().encode()
            info = tarfile.TarInfo(f"{number % CLASSES}/{number:06}.{kind}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _picture(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    pixels = rng.integers(0, 256, (PICTURE_SIDE, PICTURE_SIDE), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def measure(kind: str, tar: Path, files: int, storage: str, settings: DataSettings) -> dict[str, Any]:
    """Upload the tar and commit it; return the row of the table."""
    with running(settings) as (peer, worker):
        data, jobs = peer.stub(DatasetServiceStub), peer.stub(JobServiceStub)
        began = time.perf_counter()
        upload_id = upload(data, tar)
        uploaded = time.perf_counter()
        request = pb.CommitDatasetRequest(
            project="bench", name=kind, upload_ids=[upload_id], split=pb.SplitPolicy(stratify=True)
        )
        job = call(data.CommitDataset, request, timeout_s=60).job
        worker.work("data_svc")
        committed = time.perf_counter()
        job = call(jobs.GetJob, job_pb2.GetJobRequest(id=job.id)).job
        if job.state != job_pb2.JOB_STATE_SUCCEEDED:
            raise SystemExit(job.error)
    seconds = committed - uploaded
    return {
        "files": files,
        "kind": kind,
        "mib": round(tar.stat().st_size / 2**20, 1),
        "storage": storage,
        "database": "sqlite",
        "upload_s": round(uploaded - began, 2),
        "commit_s": round(seconds, 2),
        "files_per_s": round(files / seconds),
    }


def upload(data: DatasetServiceStub, tar: Path) -> str:
    """Send the file and return its upload's id."""
    request = pb.CreateUploadRequest(project="bench", filename=tar.name, size=tar.stat().st_size)
    upload_id = str(call(data.CreateUpload, request).upload.id)

    def messages() -> Iterator[pb.WriteUploadRequest]:
        with tar.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield pb.WriteUploadRequest(upload_id=upload_id, data=chunk)

    stream: Any = messages()
    call(data.WriteUpload, stream, timeout_s=600)
    call(data.CompleteUpload, pb.CompleteUploadRequest(id=upload_id), timeout_s=600)
    return upload_id


@contextmanager
def running(settings: DataSettings) -> Iterator[tuple[Peer, Worker]]:
    """Run the service and a worker whose children are warm."""
    server = build_server(settings, Silence())
    server.start()
    settings = settings.model_copy(update={"data_address": server.address})
    peer = Peer(server.address)
    try:
        worker = Worker([employer(settings)], ["cpu"], 1, settings, "bench")
        yield peer, worker
    finally:
        peer.close()
        server.stop(0)


@contextmanager
def s3_settings(folder: Path) -> Iterator[dict[str, str]]:
    """Run a real S3 server on a folder and give the settings that reach it."""
    with s3_server(folder) as endpoint:
        yield {
            "storage_url": "s3://bench",
            "s3_endpoint": f"http://{endpoint}",
            "s3_access_key": KEY,
            "s3_secret_key": SECRET,
        }


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--s3", action="store_true", help="also on a real S3 server (rclone)")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("png", "txt"):
            tar = Path(folder) / f"{kind}.tar"
            write_tar(tar, kind, options.files)
            home = Path(folder) / kind
            rows.append(measure(kind, tar, options.files, "folder", _settings(home)))
            if options.s3:
                with s3_settings(Path(folder) / f"{kind}-s3") as s3:
                    rows.append(measure(kind, tar, options.files, "s3", _settings(home / "s3", **s3)))
    figures = [
        figure(
            f"commit of {row['files']:,} {row['kind']} files, {row['storage']}",
            row["files_per_s"],
            "files/s",
            over=TARGET,
        )
        for row in rows
    ]
    record("dataset_commit", rows, figures)


def _settings(home: Path, **changes: str) -> DataSettings:
    fields: dict[str, Any] = {"home": home, "data_address": "127.0.0.1:0", "log_level": "WARNING"} | changes
    return DataSettings(**fields)


if __name__ == "__main__":
    main()
