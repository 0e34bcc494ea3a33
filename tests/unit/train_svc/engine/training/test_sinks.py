import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from modelwright.tracking import Run
from modelwright.train.tracking import TrackingSink
from services.common.errors import ConflictError
from services.train_svc.engine.ports import Point
from services.train_svc.engine.sinks import JsonlSink, Several, TensorBoardSink, read_curve


def points(key: str, steps: range, factor: float = 1.0) -> list[Point]:
    return [Point(key=key, step=step, value=factor / step) for step in steps]


def read_events(key: str, folder: Path) -> tuple[list[int], Any]:
    # Typed nowhere, and slow to load.
    reader = import_module("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(folder))
    found.Reload()
    events = found.Scalars(key)
    return [event.step for event in events], pytest.approx([event.value for event in events])


def test_tensorboard_reads_back_what_was_logged(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path / "new")
    for step in range(1, 21):
        sink.log([Point(key="train_loss", step=step, value=1 / step), Point(key="lr", step=step, value=0.5)])
    steps = list(range(1, 21))
    assert read_events("train_loss", tmp_path / "new") == (steps, [1 / step for step in steps])
    assert read_events("lr", tmp_path / "new") == (steps, [0.5] * 20)


def test_a_repeated_step_changes_nothing_in_tensorboard(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path)
    sink.log(points("a", range(1, 5)))
    sink.log(points("a", range(3, 7), factor=9.0))
    sink.log(points("b", range(2, 3)))
    sink.close()
    assert read_events("a", tmp_path) == ([1, 2, 3, 4, 5, 6], [1, 1 / 2, 1 / 3, 1 / 4, 9 / 5, 9 / 6])
    assert read_events("b", tmp_path) == ([2], [0.5])


def test_tensorboard_sees_each_step_of_a_resumed_run_once(tmp_path: Path) -> None:
    first = TensorBoardSink(tmp_path)
    first.log(points("a", range(1, 11)))
    second = TensorBoardSink(tmp_path)
    second.log(points("a", range(6, 16)))
    assert read_events("a", tmp_path) == (list(range(1, 16)), [1 / step for step in range(1, 16)])


def test_the_event_files_load_no_engine(tmp_path: Path) -> None:
    code = (
        "import sys; from services.train_svc.engine.sinks import TensorBoardSink;"
        "from services.train_svc.engine.ports import Point;"
        f"TensorBoardSink({str(tmp_path)!r}).log([Point(key='a', step=1, value=1.0)]);"
        "sys.exit('torch' in sys.modules or 'tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_file_gives_back_the_curves_to_the_last_digit(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    sink = JsonlSink(path)
    sink.log(points("a", range(1, 4), factor=1 / 3))
    sink.log([*points("b", range(2, 3)), *points("a", range(4, 5))])
    assert read_curve(path) == {"a": [(1, 1 / 3), (2, 1 / 6), (3, 1 / 9), (4, 1 / 4)], "b": [(2, 0.5)]}


def test_a_resumed_run_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = JsonlSink(path)
    first.log(points("a", range(1, 6)))
    first.close()
    JsonlSink(path).log(points("a", range(4, 8), factor=9.0))
    assert read_curve(path)["a"] == [*((s, 1 / s) for s in range(1, 6)), (6, 9 / 6), (7, 9 / 7)]


def test_half_a_line_of_a_killed_process_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    JsonlSink(path).log(points("a", range(1, 4)))
    path.write_bytes(path.read_bytes()[:-20])
    JsonlSink(path).log(points("a", range(3, 5)))
    assert read_curve(path)["a"] == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]


def test_lines_that_are_no_points_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = {"key": "a", "step": 1, "value": 0.5}
    lines = ["[]", "{", '{"key": "a"}', '{"key": "a", "step": 2, "value": NaN}', json.dumps(good)]
    path.write_text("\n".join(lines))
    assert read_curve(path) == {"a": [(1, 0.5)]}


def test_several_sinks_each_get_every_point(tmp_path: Path) -> None:
    first, second = JsonlSink(tmp_path / "1.jsonl"), JsonlSink(tmp_path / "2.jsonl")
    both = Several(first, second)
    both.log(points("a", range(1, 3)))
    both.close()
    assert read_curve(first.path) == read_curve(second.path) == {"a": [(1, 1.0), (2, 0.5)]}


class Kept:
    """A session of tracking that keeps what it is given."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def put(self, entry: Any) -> None:
        self.entries.append(entry)

    def flush(self, timeout_s: float) -> bool:
        return True


def test_tracking_gets_the_points_of_a_step_together() -> None:
    session = Kept()
    run = Run(session, "key", "name")  # type: ignore[arg-type]  # the part of a session that logging needs
    TrackingSink(run).log([*points("a", range(1, 3)), *points("b", range(1, 2))])
    assert [(entry.step, entry.metrics) for entry in session.entries] == [(1, {"a": 1.0, "b": 1.0}), (2, {"a": 0.5})]


def test_a_finished_tracking_run_takes_no_more() -> None:
    run = Run(Kept(), "key", "name")  # type: ignore[arg-type]  # the part of a session that logging needs
    run.finish()
    with pytest.raises(ConflictError, match="'name' is finished"):
        TrackingSink(run).log(points("a", range(1, 2)))
