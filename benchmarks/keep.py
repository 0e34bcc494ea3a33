"""Keeps what benchmarks measure, with the machine that they ran on, and prints it as one table."""

import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from services.common.hardware import cpu_model

FOLDER = Path(__file__).parent / "results"
PACKAGES = ("grpcio", "sqlalchemy", "psycopg", "protobuf", "torch", "onnxruntime", "pyarrow", "fastapi")

LOAD_BEFORE = os.getloadavg()
"""What else the machine did when the program started; afterwards its own work counts too."""

Row = Mapping[str, Any]


def record(name: str, rows: Sequence[Row], figures: Sequence[Row] = ()) -> Path:
    """Print rows and figures as tables, write them to `results/NAME.json` and return its path."""
    for found in filter(None, (rows, figures)):
        print(table(found), end="\n\n", flush=True)
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    kept = {"benchmark": name, **surroundings(), "rows": list(rows), "figures": list(figures)}
    path.write_text(json.dumps(kept, indent=2) + "\n")
    return path


def figure(
    what: str, measured: float, unit: str, *, under: float = math.inf, over: float = -math.inf, peer: str = "-"
) -> Row:
    """Return a figure beside its target, one of `under` and `over`, and what others reach."""
    bound = f"under {under:,g}" if under < math.inf else f"over {over:,g}"
    shown = f"{measured:,.0f}" if abs(measured) >= 1000 else f"{measured:.3g}"
    return {
        "figure": what,
        "target": f"{bound} {unit}",
        "measured": f"{shown} {unit}",
        "peer": peer,
        "met": "yes" if over < measured < under else "NO",
    }


def surroundings() -> dict[str, Any]:
    """Return date, machine, cores and versions."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": cpu_model(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load_before": [round(load, 2) for load in LOAD_BEFORE],
        "load_after": [round(load, 2) for load in os.getloadavg()],
        "versions": {"python": platform.python_version(), **versions()},
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that figures depend on, as far as they are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text in columns."""
    if not rows:
        return "no rows"
    heads = list(rows[0])
    cells = [[_text(row[head]) for head in heads] for row in rows]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(heads))]
    lines = [heads, ["-" * width for width in widths], *cells]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
