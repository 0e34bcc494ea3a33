"""Metric points a second through the SDK: logged, on disk, batched, through the gateway, durable in train_svc.

Each trainer is a process of its own that logs ten metrics a step as fast as it can; the clock runs from its first
point until the server has its last. Target: over 50,000 points/s. `--url` measures a server that runs already.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.keep import figure, record
from benchmarks.train_server import train_server
from modelwright import Client, init, start_run

METRICS = 10
TARGET = 50_000
READY_TIMEOUT_S = 30.0
WARM_STEPS = 500


def main() -> None:
    """Measure one and two trainers on each database, or on the server given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a server to measure in place of fresh ones")
    parser.add_argument("--steps", type=int, default=20_000, help="steps of each trainer, ten points each")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.url:
        rows += measure("as it runs", options.url, options.steps)
    else:
        for kind in ("sqlite", "postgresql"):
            with train_server(kind) as address, gateway(address) as url:
                rows += measure(kind, url, options.steps)
    slowest = {kind: min(row["points_per_s"] for row in rows if row["database"] == kind) for kind in kinds(rows)}
    figures = [
        figure(f"points through the SDK, {kind}", rate, "points/s", over=TARGET) for kind, rate in slowest.items()
    ]
    record("sdk_metrics", rows, figures)


def kinds(rows: list[dict[str, Any]]) -> list[str]:
    """Return the databases that were measured, in order."""
    return list(dict.fromkeys(row["database"] for row in rows))


def measure(name: str, url: str, steps: int) -> list[dict[str, Any]]:
    """Return a row for one trainer and one for two."""
    trained(url, trainers=1, steps=WARM_STEPS)
    return [{"database": name, **trained(url, trainers=trainers, steps=steps)} for trainers in (1, 2)]


def trained(url: str, *, trainers: int, steps: int) -> dict[str, Any]:
    """Return the rate of `trainers` processes, and what a call to log costs each."""
    with (
        tempfile.TemporaryDirectory(prefix="mw") as folder,
        multiprocessing.get_context("spawn").Pool(trainers) as pool,
    ):
        jobs = [(url, f"{folder}/{number}", steps) for number in range(trainers)]
        found = pool.starmap(train, jobs)
    start, end = min(one["start"] for one in found), max(one["end"] for one in found)
    points = sum(stored(url, one["run_id"]) for one in found)
    assert points == trainers * steps * METRICS, f"{points} points are stored"
    calls = sorted(duration for one in found for duration in one["calls"])
    return {
        "trainers": trainers,
        "points": points,
        "points_per_s": round(points / (end - start)),
        "call_p50_us": round(statistics.median(calls) * 1e6, 1),
        "call_p99_us": round(calls[int(len(calls) * 0.99)] * 1e6, 1),
        "call_max_ms": round(calls[-1] * 1e3, 2),
    }


def train(url: str, folder: str, steps: int) -> dict[str, Any]:
    """Log `steps` steps to a run of its own; returns its id, start, end and what each call took."""
    init(url, folder=folder)
    run = start_run("bench")
    run.flush()
    values = {f"train/metric_{number}": 0.5 + number for number in range(METRICS)}
    calls = []
    start = time.time()
    for step in range(steps):
        before = time.perf_counter()
        run.log_metrics(values, step=step)
        calls.append(time.perf_counter() - before)
    assert run.flush(600), "the server did not take everything"
    end = time.time()
    run.finish()
    return {"run_id": run.id, "start": start, "end": end, "calls": calls}


def stored(url: str, run_id: str) -> int:
    """Return how many points the server has of a run."""
    with Client(url) as client:
        return sum(len(series.steps) for series in client.runs.metrics(run_id))


@contextmanager
def gateway(train_address: str) -> Iterator[str]:
    """Run a gateway before train_svc, in a process of its own as deployed, and give its URL."""
    from services.common.embedded.ports import free_port  # noqa: PLC0415 - only needed without --url

    port = free_port(0)
    with tempfile.TemporaryDirectory(prefix="mw") as home:
        environment = {
            **os.environ,
            "MODELWRIGHT_HOME": home,
            "MODELWRIGHT_GATEWAY_PORT": str(port),
            "MODELWRIGHT_TRAIN_ADDRESS": train_address,
            "MODELWRIGHT_LOG_LEVEL": "WARNING",
        }
        root = Path(__file__).parents[1]
        process = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment, cwd=root)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_live(url)
            yield url
        finally:
            process.terminate()
            process.wait()


def wait_until_live(url: str) -> None:
    """Return once the gateway answers."""
    until = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/livez", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} does not answer after {READY_TIMEOUT_S:g} s")


if __name__ == "__main__":
    main()
