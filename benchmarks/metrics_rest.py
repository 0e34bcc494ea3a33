"""Metrics over REST: 20 clients at once, 10 points a request, beside an MLflow 3.18 server on SQLite.

Both servers are real processes on this machine, one after the other, and answer once the points are durable.
Target: over 20 times MLflow's rate, with p50 under 20 ms.

    python -m benchmarks.metrics_rest [--seconds 10]

One client process (aiohttp, 20 connections kept alive) asks both in the same way.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from benchmarks.keep import Row, figure, record
from benchmarks.peer import mlflow_command, mlflow_environment, mlflow_home, mlflow_version

CLIENTS = 20
POINTS = 10
START_TIMEOUT_S = 120
Send = Callable[[aiohttp.ClientSession, str, int], Awaitable[None]]
Open = Callable[[aiohttp.ClientSession], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where our servers answer."""

    gateway: str
    """Root address."""
    train: str
    """`host:port` of train_svc."""


def main() -> None:
    """Measure both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each server is asked")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, our_servers(Path(folder)) as servers:
        rows = [{"server": "modelwright", **asyncio.run(measure(servers.gateway, our_run, log_ours, options.seconds))}]
    with mlflow_home() as home:
        if home is not None:
            with tempfile.TemporaryDirectory() as folder, mlflow_server(home, Path(folder)) as url:
                measured = asyncio.run(measure(url, mlflow_run, log_mlflow, options.seconds))
            rows.append({"server": mlflow_version(home), **measured})
    record("metrics_rest", rows, figures(rows))


def figures(rows: list[dict[str, Any]]) -> list[Row]:
    """Return both figures of the table; the one beside MLflow only where it was measured."""
    ours, *peers = rows
    found = [figure("metrics over REST, p50", ours["p50_ms"], "ms", under=20)]
    for peer in peers:
        found[0] = {**found[0], "peer": f"{peer['p50_ms']:.0f} ms"}
        times, rate = ours["points_per_s"] / peer["points_per_s"], f"{peer['points_per_s']:,} points/s"
        what = f"metrics over REST ({ours['points_per_s']:,} points/s), of MLflow's rate"
        found.append(figure(what, times, "times", over=20, peer=rate))
    return found


async def measure(url: str, open_run: Open, send: Send, seconds: float) -> dict[str, Any]:
    """Return rate and latencies of `CLIENTS` clients, each with a run and a connection of its own."""
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=CLIENTS)) as session:
        runs = [await open_run(session) for _ in range(CLIENTS)]
        await asyncio.gather(*(_client(session, send, run, 1.0, 0) for run in runs))  # Warm-up.
        start = time.perf_counter()
        times = await asyncio.gather(*(_client(session, send, run, seconds, 1_000_000) for run in runs))
        took_s = time.perf_counter() - start
    latencies = [one for found in times for one in found]
    return {
        "clients": CLIENTS,
        "points_a_request": POINTS,
        "requests_per_s": round(len(latencies) / took_s),
        "points_per_s": round(len(latencies) * POINTS / took_s),
        "p50_ms": round(1000 * statistics.median(latencies), 1),
        "p95_ms": round(1000 * statistics.quantiles(latencies, n=20)[-1], 1),
    }


async def _client(session: aiohttp.ClientSession, send: Send, run: str, seconds: float, step: int) -> list[float]:
    latencies, end = [], time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        await send(session, run, step)
        latencies.append(time.perf_counter() - start)
        step += 1
    return latencies


async def our_run(session: aiohttp.ClientSession) -> str:
    """Make a run at our gateway."""
    async with session.post("/api/v1/projects/bench/runs", json={"name": "bench"}) as response:
        return str((await response.json())["id"])


async def log_ours(session: aiohttp.ClientSession, run: str, step: int) -> None:
    """Log the points at our gateway."""
    points = [{"key": f"metric-{n}", "step": step, "value": step + n / 10, "time": time.time()} for n in range(POINTS)]
    body, headers = orjson.dumps({"points": points}), {"Content-Type": "application/json"}
    async with session.post(f"/api/v1/projects/bench/runs/{run}/metrics", data=body, headers=headers) as response:
        assert response.status == 204, await response.text()


async def mlflow_run(session: aiohttp.ClientSession) -> str:
    """Make a run at MLflow."""
    body = {"experiment_id": "0", "start_time": int(time.time() * 1000)}
    async with session.post("/api/2.0/mlflow/runs/create", json=body) as response:
        return str((await response.json())["run"]["info"]["run_id"])


async def log_mlflow(session: aiohttp.ClientSession, run: str, step: int) -> None:
    """Log the same points at MLflow."""
    now = int(time.time() * 1000)
    metrics = [{"key": f"metric-{n}", "step": step, "value": step + n / 10, "timestamp": now} for n in range(POINTS)]
    body, headers = orjson.dumps({"run_id": run, "metrics": metrics}), {"Content-Type": "application/json"}
    async with session.post("/api/2.0/mlflow/runs/log-batch", data=body, headers=headers) as response:
        assert response.status == 200, await response.text()


@contextlib.contextmanager
def our_servers(folder: Path) -> Iterator[Servers]:
    """Run train_svc and the gateway as processes of their own, on SQLite, and say where they answer."""
    port, train = free_port(), free_port()
    environment = {
        **os.environ,
        "MODELWRIGHT_HOME": str(folder),
        "MODELWRIGHT_TRAIN_ADDRESS": f"127.0.0.1:{train}",
        "MODELWRIGHT_GATEWAY_PORT": str(port),
        "MODELWRIGHT_LOG_LEVEL": "WARNING",
        "MODELWRIGHT_BROKER_URL": f"redis+socket://{folder / 'none.sock'}",
    }
    commands = [[sys.executable, "-m", "services.train_svc"], [sys.executable, "-m", "gateway"]]
    with running(commands, environment, (train, port)):
        yield Servers(gateway=f"http://127.0.0.1:{port}", train=f"127.0.0.1:{train}")


@contextlib.contextmanager
def mlflow_server(home: Path, folder: Path) -> Iterator[str]:
    """Run MLflow's server on SQLite with 2 workers and give its address."""
    port = free_port()
    with running([mlflow_command(home, folder, port, "--workers", "2")], mlflow_environment(home), (port,)):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def running(commands: list[list[str]], environment: dict[str, str], ports: tuple[int, ...]) -> Iterator[None]:
    """Run the commands until the block ends; they have started once all ports listen."""
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not all(listens(port) for port in ports):
            if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
                raise RuntimeError(f"{commands} did not start")
            time.sleep(0.1)
        time.sleep(1)  # Other worker processes of the same server come up behind the first.
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Say whether something answers on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
