"""Latency of parent and variant in one run, taking turns, so that both meet the same noise."""

import platform
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.compress_svc.engine.graph import Feeds, Session
from services.compress_svc.engine.progress import Watch
from services.compress_svc.engine.statistics import Estimate

RESAMPLES = 1000
CHECK_EVERY = 50


@dataclass(frozen=True, kw_only=True)
class Latency:
    """What a model took on a named device at batch 1."""

    device: str
    threads: int
    p50_ms: float
    p99_ms: float
    runs: int

    def to_mapping(self) -> dict[str, Any]:
        """Return the form kept in the card."""
        return {
            "device": self.device,
            "threads": self.threads,
            "batch": 1,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "runs": self.runs,
        }


@dataclass(frozen=True, kw_only=True)
class Race:
    """Parent and variant side by side."""

    parent: Latency
    variant: Latency
    speedup: Estimate
    """Median time of the parent over that of the variant; interval by bootstrap over the pairs of runs."""


def race(
    parent: Session, variant: Session, feeds: Feeds, *, threads: int, runs: int, warmup: int, watch: Watch
) -> Race:
    """Time `runs` runs of each on the same input of batch 1; who goes first changes every time."""
    for _ in range(warmup):
        parent.run(feeds)
        variant.run(feeds)
    times = np.empty((runs, 2))
    for turn in range(runs):
        if turn % CHECK_EVERY == 0:
            watch.check()
        order = ((0, parent), (1, variant)) if turn % 2 == 0 else ((1, variant), (0, parent))
        for column, session in order:
            begin = perf_counter_ns()
            session.run(feeds)
            times[turn, column] = (perf_counter_ns() - begin) / 1e6
    device = device_name()
    return Race(
        parent=_latency(times[:, 0], device, threads),
        variant=_latency(times[:, 1], device, threads),
        speedup=_speedup(times),
    )


def _latency(times_ms: NDArray[np.float64], device: str, threads: int) -> Latency:
    p50, p99 = np.percentile(times_ms, [50, 99])
    return Latency(device=device, threads=threads, p50_ms=float(p50), p99_ms=float(p99), runs=len(times_ms))


def _speedup(times: NDArray[np.float64]) -> Estimate:
    chosen = np.random.default_rng(0).integers(0, len(times), (RESAMPLES, min(len(times), 1000)))
    medians = np.median(times[chosen], axis=1)
    low, high = np.percentile(medians[:, 0] / medians[:, 1], [2.5, 97.5])
    middle = np.median(times, axis=0)
    return Estimate(value=float(middle[0] / middle[1]), ci_low=float(low), ci_high=float(high))


def device_name() -> str:
    """Return the CPU's model name, with the 8-bit dot product it has, which decides what INT8 brings."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in reversed(text.splitlines()) if ":" in line)
    found = {key.strip(): value.strip() for key, value in fields.items()}
    name = found.get("model name") or platform.machine()
    flags = found.get("flags", "").split()
    wide = next((flag for flag in ("amx_int8", "avx512_vnni", "avx_vnni", "avx2") if flag in flags), "")
    return f"{name} ({wide})" if wide else name
