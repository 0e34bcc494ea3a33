"""`modelwright up` to ready, and what it holds when idle, beside MLflow's server in the same run.

    python -m benchmarks.startup [--starts 5] [--mlflow-starts 1] [--idle-s 30]

The clock runs from the command's start until `/readyz` (MLflow: `/health`) says yes: once on a fresh home, once more
on the same. Memory is read after `--idle-s` seconds without a call: RSS counts shared pages in every process, PSS
once in all. The target is held against RSS. MLflow runs with its own defaults on SQLite.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.embedded import platform, until_answer
from benchmarks.keep import Row, figure, record
from benchmarks.peer import mlflow_command, mlflow_environment, mlflow_home, mlflow_version
from services.common.embedded.ports import free_port

MB = 1e6
CONTROL_PLANE = ("services and gateway", "redis")
Starts = dict[str, list[float]]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--mlflow-starts", type=int, default=1)
    parser.add_argument("--idle-s", type=float, default=30.0)
    options = parser.parse_args()
    starts, memory = ours(options.starts, options.idle_s)
    rows = [start_row("modelwright up", starts), *memory]
    peer_starts: Starts = {}
    peer_memory: list[dict[str, Any]] = []
    with mlflow_home() as home:
        if home is not None:
            peer_starts, peer_memory = mlflow(home, options.mlflow_starts, options.idle_s)
            rows += [start_row(mlflow_version(home), peer_starts), *peer_memory]
    record("startup", rows, figures(starts, memory, peer_starts, peer_memory))


def ours(count: int, idle_s: float) -> tuple[Starts, list[dict[str, Any]]]:
    """Return seconds to ready, fresh and again, and the memory of each part when idle."""
    starts: Starts = {"fresh": [], "again": []}
    memory: list[dict[str, Any]] = []
    for number in range(count):
        with tempfile.TemporaryDirectory(prefix="mw") as folder:
            for kind, times in starts.items():
                with platform(Path(folder)) as running:
                    times.append(running.ready_s)
                    if kind == "again" and number == count - 1:
                        time.sleep(idle_s)
                        memory = held(running.pid)
    return starts, memory


def mlflow(home: Path, count: int, idle_s: float) -> tuple[Starts, list[dict[str, Any]]]:
    """Return the same of MLflow's server."""
    starts: Starts = {"fresh": [], "again": []}
    memory: list[dict[str, Any]] = []
    for number in range(count):
        with tempfile.TemporaryDirectory(prefix="mw") as folder:
            for kind, times in starts.items():
                with mlflow_server(home, Path(folder)) as (pid, ready_s):
                    times.append(ready_s)
                    if kind == "again" and number == count - 1:
                        time.sleep(idle_s)
                        memory = [memory_row("mlflow server", tree(psutil.Process(pid)))]
    return starts, memory


@contextmanager
def mlflow_server(home: Path, folder: Path) -> Iterator[tuple[int, float]]:
    """Run MLflow's server; give its process id and the seconds until it answered."""
    port, start = free_port(0), time.perf_counter()
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            mlflow_command(home, folder, port), env=mlflow_environment(home), stdout=log, stderr=log
        )
    try:
        until_answer(f"http://127.0.0.1:{port}/health")
        yield process.pid, time.perf_counter() - start
    finally:
        end(psutil.Process(process.pid))
        process.wait()


def end(process: psutil.Process) -> None:
    """End a process and all that it started."""
    family = tree(process)
    process.terminate()
    for one in psutil.wait_procs(family, timeout=15)[1]:
        one.kill()


def held(pid: int) -> list[dict[str, Any]]:
    """Return the memory of each part of the platform whose main process is `pid`."""
    main_process = psutil.Process(pid)
    parts: dict[str, list[psutil.Process]] = {"services and gateway": [main_process]}
    for child in main_process.children():
        parts.setdefault(part_of(child), []).extend(tree(child))
    return [memory_row(name, processes) for name, processes in parts.items()]


def part_of(process: psutil.Process) -> str:
    """Return which part a direct child of the main process is."""
    line = " ".join(process.cmdline())
    if "redis" in line:
        return "redis"
    return "inference server" if " inference " in line else "workers"


def tree(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and everything below it."""
    return [process, *process.children(recursive=True)]


def memory_row(name: str, processes: Sequence[psutil.Process]) -> dict[str, Any]:
    """Return a part's row."""
    found = [process.memory_full_info() for process in processes]
    return {
        "what": name,
        "fresh_s": "-",
        "again_s": "-",
        "processes": len(found),
        "rss_mb": round(sum(one.rss for one in found) / MB, 1),
        "pss_mb": round(sum(one.pss for one in found) / MB, 1),
    }


def start_row(name: str, starts: Starts) -> dict[str, Any]:
    """Return the row of the medians."""
    fresh, again = (round(statistics.median(starts[kind]), 2) for kind in ("fresh", "again"))
    return {"what": name, "fresh_s": fresh, "again_s": again, "processes": "-", "rss_mb": "-", "pss_mb": "-"}


def figures(starts: Starts, memory: list[dict[str, Any]], peer: Starts, peer_memory: list[dict[str, Any]]) -> list[Row]:
    """Return both figures of the table."""
    control_mb = sum(row["rss_mb"] for row in memory if row["what"] in CONTROL_PLANE)
    peer_s = f"{statistics.median(peer['fresh']):.1f} s" if peer else "not measured"
    peer_mb = f"{peer_memory[0]['rss_mb']:,.0f} MB" if peer_memory else "not measured"
    return [
        figure("`modelwright up` to ready", statistics.median(starts["fresh"]), "s", under=5, peer=peer_s),
        figure("idle control plane, RSS", control_mb, "MB", under=400, peer=peer_mb),
    ]


if __name__ == "__main__":
    main()
