"""The writer's threads, against sinks that are away, disks that are full and snapshots that take their time."""

import logging
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from services.common.errors import BusyError, StaleLeaseError, StorageFullError, UnavailableError
from services.train_svc.engine.checkpointing import (
    Best,
    CheckpointWriter,
    Note,
    RetryPolicy,
    list_checkpoints,
    read_checkpoint,
)
from services.train_svc.engine.checkpointing.dtypes import Array
from services.train_svc.engine.ports import NoSink

Notes = Callable[..., Note]
QUICK = RetryPolicy(first_s=0.01, longest_s=0.02, give_up_s=20)
AT_ONCE = RetryPolicy(first_s=0.01, longest_s=0.01, give_up_s=0.05)
PATIENCE_S = 20


class Still:
    """A snapshot of one array; may be held up on its way to the host."""

    alive: ClassVar["weakref.WeakSet[Still]"] = weakref.WeakSet()

    def __init__(self, value: float, *, count: int = 4, ready: threading.Event | None = None) -> None:
        self.array = np.full(count, value, np.float32)
        self.ready = ready
        self.asked = threading.Event()
        self.alive.add(self)

    def tensors(self) -> dict[str, Array]:
        self.asked.set()
        assert self.ready is None or self.ready.wait(PATIENCE_S)
        return {"model/x": self.array}

    @property
    def size_bytes(self) -> int:
        return self.array.nbytes


class Away:
    """A sink that is away for the first tries, and may be slow."""

    def __init__(self, failures: int = 0, error: Exception | None = None, ready: threading.Event | None = None) -> None:
        self.failures = failures
        self.error = error or UnavailableError("the bucket does not answer")
        self.ready = ready
        self.saved: list[int] = []
        self.tried = threading.Event()

    def save(self, folder: Path, step: int) -> None:
        self.tried.set()
        assert self.ready is None or self.ready.wait(PATIENCE_S)
        if self.failures > 0:
            self.failures -= 1
            raise self.error
        assert read_checkpoint(folder).note.step == step
        self.saved.append(step)


@pytest.fixture(autouse=True)
def _none_alive() -> None:
    Still.alive.clear()


def test_each_snapshot_is_written_and_then_handed_on(tmp_path: Path, make_note: Notes) -> None:
    sink = Away()
    with CheckpointWriter(tmp_path, sink, QUICK) as writer:
        for step in (1, 2, 3):
            writer.put(Still(step), make_note(step))
            writer.flush()
    assert sink.saved == [1, 2, 3]
    found = [read_checkpoint(folder) for folder in list_checkpoints(tmp_path)]
    assert [(one.note.step, one.tensors["model/x"][0]) for one in found] == [(2, 2), (3, 3)]


def test_putting_waits_neither_for_the_device_nor_for_the_disk(tmp_path: Path, make_note: Notes) -> None:
    ready = threading.Event()
    with CheckpointWriter(tmp_path, NoSink(), QUICK) as writer:
        writer.put(Still(1, ready=ready), make_note(1))
        assert not list_checkpoints(tmp_path)
        ready.set()
        writer.flush()
    assert len(list_checkpoints(tmp_path)) == 1


def test_the_newest_takes_the_place_of_one_that_waits_and_no_third_is_alive(tmp_path: Path, make_note: Notes) -> None:
    ready = threading.Event()
    first = Still(1, ready=ready)
    with CheckpointWriter(tmp_path, NoSink(), QUICK) as writer:
        assert writer.is_free
        writer.put(first, make_note(1))
        assert first.asked.wait(PATIENCE_S)
        assert writer.is_free
        for step in (2, 3, 4):
            writer.make_room()
            # Made as an argument: nobody but the writer holds it.
            writer.put(Still(step), make_note(step))
            assert not writer.is_free
            assert {still.array[0] for still in Still.alive} == {1, step}
        del first
        ready.set()
        writer.flush()
        assert not Still.alive
    assert [read_checkpoint(folder).note.step for folder in list_checkpoints(tmp_path)] == [1, 4]


def test_the_best_outlive_the_newest(tmp_path: Path, make_note: Notes) -> None:
    with CheckpointWriter(tmp_path, NoSink(), QUICK, Best(metric="loss", rises=False)) as writer:
        for step, loss in enumerate([0.5, 0.1, 0.2, 0.3, 0.4], start=1):
            writer.put(Still(step), make_note(step, metrics={"loss": loss}))
            writer.flush()
    assert [read_checkpoint(folder).note.step for folder in list_checkpoints(tmp_path)] == [2, 4, 5]


@pytest.mark.parametrize("error", [UnavailableError("away"), BusyError("busy"), StorageFullError("full"), OSError(5)])
def test_a_storage_that_comes_back_costs_nothing(tmp_path: Path, make_note: Notes, error: Exception) -> None:
    sink = Away(2, error)
    with CheckpointWriter(tmp_path, sink, QUICK) as writer:
        writer.put(Still(1), make_note(1))
        writer.flush()
        writer.check()
    assert sink.saved == [1]


def test_while_the_storage_is_away_the_disk_goes_on_and_the_newest_is_handed_on(
    tmp_path: Path, make_note: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    ready = threading.Event()
    sink = Away(1, ready=ready)
    with caplog.at_level(logging.WARNING), CheckpointWriter(tmp_path, sink, QUICK) as writer:
        writer.put(Still(1), make_note(1))
        assert sink.tried.wait(PATIENCE_S)
        for step in (2, 3, 4):
            writer.put(Still(step), make_note(step))
            wait_for(lambda: writer.is_free)
        # What the sink reads just now is not dropped under its hands.
        wait_for(lambda: [int(folder.name[-2:]) for folder in list_checkpoints(tmp_path)] == [1, 3, 4])
        ready.set()
        writer.flush()
    assert sink.saved[-1] == 4
    assert not {1, 2} & set(sink.saved)
    assert "checkpoint 1 is not saved yet, next try in 0.0 s: the bucket does not answer" in caplog.text


def test_the_disk_can_be_waited_for_while_the_storage_is_away(tmp_path: Path, make_note: Notes) -> None:
    ready = threading.Event()
    with CheckpointWriter(tmp_path, Away(ready=ready), QUICK) as writer:
        for step in (1, 2):
            writer.put(Still(step), make_note(step))
            writer.flush_to_disk()
        assert [read_checkpoint(folder).note.step for folder in list_checkpoints(tmp_path)] == [1, 2]
        ready.set()
        writer.flush()


def wait_for(holds: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(PATIENCE_S * 200):
        if holds():
            return
        tick.wait(0.005)
    pytest.fail("it never came to hold")


def test_a_storage_that_stays_away_ends_it_with_a_clear_error(tmp_path: Path, make_note: Notes) -> None:
    with CheckpointWriter(tmp_path, Away(10**9), AT_ONCE) as writer:
        writer.put(Still(7), make_note(7))
        wanted = (
            r"step 7 could not be stored for 0 s: the bucket does not answer; .*resume the run, or raise train\.check"
        )
        with pytest.raises(UnavailableError, match=wanted):
            writer.flush()
        with pytest.raises(UnavailableError):
            writer.check()
        assert not Still.alive
    assert len(list_checkpoints(tmp_path)) == 1


@pytest.mark.parametrize("error", [StaleLeaseError("another worker has the job"), ZeroDivisionError("a defect")])
def test_any_other_failure_ends_it_at_once(tmp_path: Path, make_note: Notes, error: Exception) -> None:
    sink = Away(10**9, error)
    with CheckpointWriter(tmp_path, sink, QUICK) as writer:
        writer.put(Still(1), make_note(1))
        with pytest.raises(type(error), match=str(error)):
            writer.flush()
    assert sink.failures == 10**9 - 1


def test_a_snapshot_that_fails_is_seen_by_the_training_thread(tmp_path: Path, make_note: Notes) -> None:
    class Broken(Still):
        def tensors(self) -> dict[str, Array]:
            raise RuntimeError("the device is lost")

    with CheckpointWriter(tmp_path, NoSink(), QUICK) as writer:
        writer.put(Broken(1), make_note(1))
        with pytest.raises(RuntimeError, match="the device is lost"):
            writer.flush()


def test_a_full_disk_is_a_warning_until_there_is_room_again(
    small_disk: Path, make_note: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(6 << 20))
    sink = Away()
    with caplog.at_level(logging.WARNING), CheckpointWriter(small_disk / "run", sink, QUICK) as writer:
        writer.put(Still(1, count=1 << 20), make_note(1))
        wait_for(lambda: "no room for the checkpoint of step 1" in caplog.text)
        writer.check()
        # The newer one is tried from now on, and the older is let go.
        writer.put(Still(2, count=1 << 20), make_note(2))
        wait_for(lambda: "no room for the checkpoint of step 2" in caplog.text)
        assert {still.array[0] for still in Still.alive} == {2}
        ballast.unlink()
        writer.flush()
    assert sink.saved == [2]


def test_a_disk_that_stays_full_ends_it_and_leaves_the_earlier_one_whole(small_disk: Path, make_note: Notes) -> None:
    with CheckpointWriter(small_disk, NoSink(), AT_ONCE) as writer:
        writer.put(Still(1, count=1 << 20), make_note(1))
        writer.flush()
        writer.put(Still(2, count=1 << 20), make_note(2))
        wanted = (
            r"step 2 could not be written for 0 s: no room .* takes 4,194,\d+ bytes .*free at least .*resume the run"
        )
        with pytest.raises(StorageFullError, match=wanted):
            writer.flush()
        writer.put(Still(3), make_note(3))
        assert not Still.alive
    assert [read_checkpoint(folder).note.step for folder in list_checkpoints(small_disk)] == [1]


def test_leaving_finishes_what_is_being_written_and_drops_what_waits(tmp_path: Path, make_note: Notes) -> None:
    ready = threading.Event()
    first = Still(1, ready=ready)
    with CheckpointWriter(tmp_path, NoSink(), QUICK) as writer:
        writer.put(first, make_note(1))
        assert first.asked.wait(PATIENCE_S)
        writer.put(Still(2), make_note(2))
        threading.Timer(0.05, ready.set).start()
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["step-000000000001"]


def test_leaving_does_not_wait_for_a_storage_that_is_away(tmp_path: Path, make_note: Notes) -> None:
    sink = Away(10**9)
    patient = RetryPolicy(first_s=1000, longest_s=1000, give_up_s=10**6)
    with CheckpointWriter(tmp_path, sink, patient) as writer:
        writer.put(Still(1), make_note(1))
        assert sink.tried.wait(PATIENCE_S)
    assert not sink.saved
