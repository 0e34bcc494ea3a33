"""From a job's line to a browser: the time from a job's child printing a line to the event's arrival.

A real train_svc, a real gateway and a real worker, each a process of its own. The worker's child prints lines with
the time in them; browsers follow the log through the gateway's event stream. Target: p95 under 500 ms.

    python -m benchmarks.log_latency [--lines 200] [--browsers 10]
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks.keep import figure, record
from benchmarks.metrics_rest import our_servers
from proto.gen.modelwright.train.v1 import run_pb2
from proto.gen.modelwright.train.v1.run_pb2_grpc import RunServiceStub
from services.common.digest import digest_bytes
from services.common.jobs.context import JobContext
from services.common.jobs.worker import Employer, Worker
from services.common.rpc import Peer, call
from services.common.settings import CommonSettings

PAUSE_S = 0.047
"""Between two lines; no fraction of the worker's own rhythm of 0.1 s."""
LAST = "no more"
TIMEOUT_S = 120.0


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--browsers", type=int, default=10)
    options = parser.parse_args()
    rows = [measured(options.lines, browsers) for browsers in (1, options.browsers)]
    p95_ms = max(row["p95_ms"] for row in rows)
    record("log_latency", rows, [figure("log line to browser, p95", p95_ms, "ms", under=500)])


def measured(lines: int, browsers: int) -> dict[str, Any]:
    """Return the row of a job with so many lines, seen by so many browsers."""
    with tempfile.TemporaryDirectory(prefix="mw") as folder, our_servers(Path(folder)) as servers:
        job_id = submitted(servers.train, lines)
        latencies = asyncio.run(seen(servers.gateway, servers.train, folder, job_id, browsers))
    assert len(latencies) == lines * browsers, f"{len(latencies)} lines arrived"
    return {
        "browsers": browsers,
        "lines": lines,
        "events": len(latencies),
        "p50_ms": round(1000 * statistics.median(latencies), 1),
        "p95_ms": round(1000 * statistics.quantiles(latencies, n=20)[-1], 1),
        "max_ms": round(1000 * max(latencies), 1),
    }


def submitted(train: str, lines: int) -> str:
    """Queue the job and return its id."""
    peer = Peer(train)
    request = run_pb2.SubmitTrainingRequest(
        project="bench",
        # The body reads how much to say where it finds it: in the seed.
        spec_json=json.dumps({"model": "resnet_small", "seed": lines}),
        dataset_digest=digest_bytes(b""),
        queue="cpu",
    )
    job_id = str(call(peer.stub(RunServiceStub).SubmitTraining, request).job.id)
    peer.close()
    return job_id


async def seen(url: str, train: str, folder: str, job_id: str, browsers: int) -> list[float]:
    """Return the seconds that each line took to each browser."""
    async with aiohttp.ClientSession(url) as session:
        path = f"/api/v1/projects/bench/jobs/{job_id}/log?follow=true"
        watching = [asyncio.create_task(_watch(session, path)) for _ in range(browsers)]
        await asyncio.sleep(1)
        with worker(train, folder):
            found = await asyncio.wait_for(asyncio.gather(*watching), TIMEOUT_S)
    return [latency for one in found for latency in one]


async def _watch(session: aiohttp.ClientSession, path: str) -> list[float]:
    latencies: list[float] = []
    async with session.get(path, headers={"Accept": "text/event-stream"}) as response:
        async for raw in response.content:
            now = time.time()
            text = str(orjson.loads(raw[6:]).get("text", "")) if raw.startswith(b"data: ") else ""
            if text == LAST:
                break
            if text.startswith("at "):
                latencies.append(now - float(text[3:]))
    return latencies


@contextmanager
def worker(train: str, folder: str) -> Iterator[None]:
    """Run a worker in a process of its own until its job is done."""
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(train, folder))
    process.start()
    try:
        yield
    finally:
        process.join(30)
        process.kill()


def _work(train: str, folder: str) -> None:
    settings = CommonSettings(home=Path(folder), train_address=train, log_level="WARNING")
    employer = Employer(service="train_svc", address=train, kinds={"train": "benchmarks.log_latency:chatter"})
    Worker([employer], ["cpu"], 1, settings, "bench").work("train_svc")


def chatter(context: JobContext) -> dict[str, Any]:
    """Print lines with the time in them: the job's body."""
    for _ in range(int(context.job.spec["spec"]["seed"])):
        print(f"at {time.time()}", flush=True)
        time.sleep(PAUSE_S)
    print(LAST, flush=True)
    return {}


if __name__ == "__main__":
    main()
