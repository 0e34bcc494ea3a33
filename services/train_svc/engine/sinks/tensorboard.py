"""Curves for TensorBoard, by its own package; loads neither torch nor TensorFlow."""

import os
import socket
import time
from collections.abc import Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from services.train_svc.engine.ports import Point

FORMAT = "brain.Event:2"


class TensorBoardSink:
    """Writes points as scalars into an event file of its own in a folder; `tensorboard --logdir` shows it.

    A run that goes on begins another file in the same folder with a mark, at which TensorBoard forgets what an earlier
    attempt measured at that step and behind it: its steps are made again.

    The package's `EventFileWriter` is not used, since it loads TensorFlow wherever that is installed; its records and
    messages are.

    Args:
        folder: is made.

    Raises:
        ModuleNotFoundError: the package `tensorboard` is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._protos = import_module("tensorboard.compat.proto.event_pb2")
        self._summaries = import_module("tensorboard.compat.proto.summary_pb2")
        name = f"events.out.tfevents.{time.time_ns() // 10**9:010d}.{socket.gethostname()}.{os.getpid()}"
        self._file = open(_free(self.folder, name), "xb")
        self._records = import_module("tensorboard.summary.writer.record_writer").RecordWriter(self._file)
        self._last: dict[str, int] = {}
        self._write(file_version=FORMAT)

    def log(self, points: Sequence[Point]) -> None:
        """Write the points; of a key, steps that are not behind its last one were written before and are left out."""
        fresh = [point for point in points if point.step > self._last.get(point.key, -1)]
        if fresh and not self._last:
            start = self._protos.SessionLog(status=self._protos.SessionLog.START)
            self._write(step=min(point.step for point in fresh), session_log=start)
        for step, some in groupby(fresh, key=lambda point: point.step):
            values = [self._value(point) for point in some]
            self._write(step=step, summary=self._summaries.Summary(value=values))
        self._records.flush()

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def _value(self, point: Point) -> Any:  # noqa: ANN401 - a message of TensorBoard's
        self._last[point.key] = point.step
        return self._summaries.Summary.Value(tag=point.key, simple_value=point.value)

    def _write(self, **fields: Any) -> None:  # noqa: ANN401 - parts of a message
        self._records.write(self._protos.Event(wall_time=time.time(), **fields).SerializeToString())


def _free(folder: Path, name: str) -> Path:
    # One process may open several within a second.
    paths = (folder / f"{name}.{number}" for number in range(10**6))
    return next(path for path in paths if not path.exists())
