"""From a job's line to a browser: p50 and p95 of the time from a worker's report to the event's arrival.

A real train_svc and a real gateway, each a process of its own; this program claims a job as a worker does, reports
lines through RenewLease, and follows the log as some browsers do. Target: p95 under 500 ms.

    python -m benchmarks.log_latency [--lines 300] [--browsers 10]
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks.keep import record
from benchmarks.metrics_rest import our_servers
from proto.gen.modelwright.common.v1 import job_pb2
from proto.gen.modelwright.common.v1.job_pb2_grpc import JobServiceStub
from proto.gen.modelwright.train.v1 import run_pb2
from proto.gen.modelwright.train.v1.run_pb2_grpc import RunServiceStub
from services.common.digest import digest_bytes
from services.common.rpc import AioPeer, acall

PAUSE_S = 0.02
"""Between two lines: a job that writes 50 a second."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=300)
    parser.add_argument("--browsers", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, our_servers(Path(folder)) as servers:
        latencies = asyncio.run(measure(servers.gateway, servers.train, options.lines, options.browsers))
    row = {
        "browsers": options.browsers,
        "lines": options.lines,
        "events": len(latencies),
        "p50_ms": round(1000 * statistics.median(latencies), 1),
        "p95_ms": round(1000 * statistics.quantiles(latencies, n=20)[-1], 1),
        "max_ms": round(1000 * max(latencies), 1),
    }
    record("log_latency", [row])


async def measure(url: str, train: str, lines: int, browsers: int) -> list[float]:
    """Return the seconds from each line's report to its arrival at each browser."""
    peer = AioPeer(train)
    lease = await _claim(peer)
    sent: dict[int, float] = {}
    async with aiohttp.ClientSession(url) as session:
        path = f"/api/v1/projects/bench/jobs/{lease.job_id}/log?follow=true"
        watching = [asyncio.create_task(_watch(session, path, sent, lines)) for _ in range(browsers)]
        await asyncio.sleep(1)
        await _report(peer, lease, sent, lines)
        found = await asyncio.wait_for(asyncio.gather(*watching), 60)
    await peer.close()
    return [latency for one in found for latency in one]


async def _claim(peer: AioPeer) -> job_pb2.Lease:
    runs, jobs = peer.stub(RunServiceStub), peer.stub(JobServiceStub)
    request = run_pb2.SubmitTrainingRequest(
        project="bench", spec_json='{"model": "resnet_small"}', dataset_digest=digest_bytes(b""), queue="cpu"
    )
    await acall(runs.SubmitTraining, request)
    claimed = await acall(jobs.ClaimJob, job_pb2.ClaimJobRequest(worker="bench", queues=["cpu"]))
    lease: job_pb2.Lease = claimed.lease
    return lease


async def _report(peer: AioPeer, lease: job_pb2.Lease, sent: dict[int, float], lines: int) -> None:
    jobs = peer.stub(JobServiceStub)
    for seq in range(1, lines + 1):
        line = job_pb2.LogLine(seq=seq, stream="stdout", text=str(seq))
        line.time.FromNanoseconds(time.time_ns())
        sent[seq] = time.perf_counter()
        await acall(jobs.RenewLease, job_pb2.RenewLeaseRequest(lease=lease, lines=[line]))
        await asyncio.sleep(PAUSE_S)


async def _watch(session: aiohttp.ClientSession, path: str, sent: dict[int, float], lines: int) -> list[float]:
    latencies: list[float] = []
    async with session.get(path, headers={"Accept": "text/event-stream"}) as response:
        async for raw in response.content:
            data: Any = orjson.loads(raw[6:]) if raw.startswith(b"data: ") else {}
            if data.get("stream") == "stdout":
                latencies.append(time.perf_counter() - sent[int(data["text"])])
                if len(latencies) == lines:
                    break
    return latencies


if __name__ == "__main__":
    main()
