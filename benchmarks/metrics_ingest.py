"""Metric points a second through RunService.LogBatch, durable when answered.

Two loads: what the SDK's batching sends (1,000 points a call, 4 callers), and 10 points a call from 20 callers.
Target: over 50,000 points/s in batches, on SQLite and on PostgreSQL.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.keep import figure, record
from benchmarks.train_server import train_server
from proto.gen.modelwright.train.v1 import run_pb2 as pb
from proto.gen.modelwright.train.v1.run_pb2_grpc import RunServiceStub
from services.common.rpc import Peer, call

TARGET = 50_000
BATCH = 1000
"""Points of a call that the SDK sends when there is much to send."""
KEYS = ("train/loss", "train/lr", "train/grad_norm", "train/step_s", "train/throughput")


def main() -> None:
    """Measure both databases under both loads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200, help="calls of each caller with 1,000 points")
    options = parser.parse_args()
    rows = []
    for kind in ("sqlite", "postgresql"):
        with train_server(kind) as address:
            measure(address, callers=4, points=BATCH, calls=20)  # Warm: imports, connections, the first pages.
            for callers, points, calls in ((4, BATCH, options.calls), (20, 10, options.calls)):
                rows.append({"database": kind, **measure(address, callers=callers, points=points, calls=calls)})
    batched = [row for row in rows if row["points_a_call"] == BATCH]
    figures = [
        figure(f"points through LogBatch, {row['database']}", row["points_per_s"], "points/s", over=TARGET)
        for row in batched
    ]
    record("metrics_ingest", rows, figures)


def measure(address: str, *, callers: int, points: int, calls: int) -> dict[str, Any]:
    """Return the rate and latencies of `callers`, each sending `calls` calls of `points` points of its own run."""
    peers = [Peer(address) for _ in range(callers)]
    stubs = [peer.stub(RunServiceStub) for peer in peers]
    runs = [call(stub.CreateRun, pb.CreateRunRequest(project="bench")).run.id for stub in stubs]
    requests = [[batch(run, number, points) for number in range(calls)] for run in runs]
    start = time.perf_counter()
    with ThreadPoolExecutor(callers) as pool:
        latencies = [t for times in pool.map(send, stubs, requests) for t in times]
    seconds = time.perf_counter() - start
    stored = sum(count(stub, run) for stub, run in zip(stubs, runs, strict=True))
    assert stored == callers * calls * points, f"{stored} points are stored"
    for peer in peers:
        peer.close()
    return {
        "callers": callers,
        "points_a_call": points,
        "points": stored,
        "points_per_s": round(stored / seconds),
        "p50_ms": round(statistics.median(latencies) * 1000, 1),
        "p95_ms": round(statistics.quantiles(latencies, n=20)[-1] * 1000, 1),
    }


def batch(run: str, number: int, points: int) -> pb.LogBatchRequest:
    """Return a call with points of several metrics, the steps going on from call to call."""
    steps = points // len(KEYS)
    sent = [
        pb.MetricPoint(key=key, step=number * steps + i, value=1 / (1 + i), time=1.7e9 + i)
        for i in range(steps)
        for key in KEYS
    ]
    return pb.LogBatchRequest(entries=[pb.RunEntry(run_id=run, points=sent)])


def send(stub: RunServiceStub, requests: list[pb.LogBatchRequest]) -> list[float]:
    """Send one call after the other and return how long each took."""
    times = []
    for request in requests:
        start = time.perf_counter()
        assert not call(stub.LogBatch, request).refused_runs
        times.append(time.perf_counter() - start)
    return times


def count(stub: RunServiceStub, run: str) -> int:
    """Return how many points of a run are stored."""
    return sum(len(series.steps) for series in call(stub.ReadMetrics, pb.ReadMetricsRequest(run_id=run)).series)


if __name__ == "__main__":
    main()
