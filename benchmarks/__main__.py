"""Runs the benchmarks in order and ends with one table: each figure, its target, what was measured, and the peer.

    python -m benchmarks [NAME ...]

Each is a program of its own (`python -m benchmarks.NAME`); one that fails is named and the others go on.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.keep import FOLDER, Row, table
from services.common.names import nearest

NAMES = (
    "startup",
    "submit_to_step",
    "sdk_metrics",
    "metrics_ingest",
    "metrics_rest",
    "run_search",
    "log_latency",
    "upload",
    "dataset_commit",
    "building",
)
"""Those of the table of figures, in its order. Others run when they are named: `storage_upload` looks into `upload`,
and the rest need a GPU."""
OTHERS = ("storage_upload", "native_models", "bert_step", "precision_policy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run those named, or all, and return 1 if one of the programs failed; a missed target is said in the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES + OTHERS))
    names = parser.parse_args(arguments).names or NAMES
    for name in names:
        if name not in NAMES + OTHERS:
            parser.error(f"there is no benchmark {name!r}{nearest(name, NAMES + OTHERS)}")
    failed = [name for name in names if not _run(name)]
    figures = [row for name in names if name not in failed for row in _figures(name)]
    if figures:
        print(table(figures))
    for name in failed:
        print(f"{name} failed; see above")
    return int(bool(failed))


def _run(name: str) -> bool:
    print(f"== {name}", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode == 0


def _figures(name: str) -> list[Row]:
    kept = json.loads((FOLDER / f"{name}.json").read_text())
    load = kept["load_before"][0]
    return [{**row, "load_before": load} for row in kept["figures"]]


if __name__ == "__main__":
    sys.exit(main())
