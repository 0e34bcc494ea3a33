"""From submitting a training to its first step on a warm worker.

    python -m benchmarks.submit_to_step [--times 5]

The platform runs as `modelwright up` starts it, with the handwritten digits of the first example. The clock runs
from the client's POST of `runs:train` to the time that the trainer gave the first point of step 1. One training
before the measured ones warms the worker. Target: under 2 s.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.embedded import ROOT, platform
from benchmarks.keep import figure, record
from modelwright import Client

SPEC = {"model": "resnet_small", "epochs": 1, "model_name": "digits"}
SOON_S = 60.0


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mw") as folder, platform(Path(folder) / "home") as running:
        with Client(running.url) as client:
            dataset = digits(client, Path(folder) / "digits")
            submitted(client, dataset, seed=0)
            rows = [submitted(client, dataset, seed=number) for number in range(1, options.times + 1)]
    median_s = statistics.median(row["first_step_s"] for row in rows)
    record("submit_to_step", rows, [figure("submit to first step, median", median_s, "s", under=2)])


def digits(client: Client, folder: Path) -> str:
    """Commit the digits and return the version's digest."""
    subprocess.run([sys.executable, ROOT / "examples" / "01-digits" / "prepare.py", folder], check=True)
    job = client.datasets.push("digits", folder, fractions={"train": 0.7, "validation": 0.15, "test": 0.15})
    return client.datasets.wait(job).digest


def submitted(client: Client, dataset: str, *, seed: int) -> dict[str, Any]:
    """Train once and return the seconds from the call to the job's start and to step 1."""
    start = time.time()
    run, job = client.runs.train("bench", {**SPEC, "seed": seed}, dataset)
    answered_s = time.time() - start
    first_s = first_step(client, run.id) - start
    done = client.jobs.wait(job.id).successful()
    assert done.started_at is not None
    return {
        "training": seed,
        "answered_s": round(answered_s, 3),
        "claimed_s": round(done.started_at.timestamp() - start, 3),
        "first_step_s": round(first_s, 3),
    }


def first_step(client: Client, run_id: str) -> float:
    """Return when the run's step 1 was logged, in seconds since 1970."""
    until = time.monotonic() + SOON_S
    while time.monotonic() < until:
        series = client.runs.metrics(run_id)
        times = [one.times[one.steps.index(1)] for one in series if 1 in one.steps]
        if times:
            return min(times)
        time.sleep(0.1)
    raise TimeoutError(f"run {run_id} logged no step 1 within {SOON_S:g} s")


if __name__ == "__main__":
    main()
