"""Curves kept as a file beside a local run, a line of JSON for each point."""

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.train_svc.engine.ports import Point

Curve = dict[str, list[tuple[int, float]]]
"""By metric: steps and values, in the order of steps."""


class JsonlSink:
    """Appends points to a file: key, step, value, wall time in seconds. A run that goes on appends to the same one.

    Args:
        path: the file; its folder is made.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a+b")
        self._end_line()

    def log(self, points: Sequence[Point]) -> None:
        """Append the points; they are the operating system's at once, so that a crash of the process loses none."""
        now = round(time.time(), 3)
        lines = (
            json.dumps({"key": point.key, "step": point.step, "value": point.value, "time": now}) for point in points
        )
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _end_line(self) -> None:
        # A process that was killed may have left half a line; the next one must not be glued to it.
        if self._file.seek(0, os.SEEK_END):
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")


def read_curve(path: Path | str) -> Curve:
    """Return the points of a file of `JsonlSink`, by key in the order of steps; of repeated (key, step) the first.

    Lines that are no points, such as half a line of a killed process, are left out.
    """
    found: dict[str, dict[int, float]] = {}
    for point in _points(Path(path)):
        found.setdefault(point.key, {}).setdefault(point.step, point.value)
    return {key: sorted(values.items()) for key, values in found.items()}


def _points(path: Path) -> Iterator[Point]:
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                given = json.loads(line)
                point = Point(key=str(given["key"]), step=int(given["step"]), value=float(given["value"]))
            except (ValueError, KeyError, TypeError):
                continue
            if math.isfinite(point.value):
                yield point
