"""Entries are put at once and arrive once, in order, whatever happens to the receiver."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import BusyError, InvalidError, StaleLeaseError, UnavailableError
from services.common.outbox import Outbox, read_refused


class Receiver:
    """Keeps what it is sent; fails with the errors it is given, one a call, while there are any."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.errors: list[Exception] = []
        self.away = False
        self.tried = threading.Event()

    def __call__(self, batch: list[Any]) -> None:
        self.tried.set()
        if self.errors:
            raise self.errors.pop(0)
        if self.away:
            raise UnavailableError("away")
        self.batches.append(batch)

    @property
    def entries(self) -> list[Any]:
        return [entry for batch in self.batches for entry in batch]


def test_entries_arrive_in_order_in_batches_as_they_were_put(tmp_path: Path) -> None:
    receiver = Receiver()
    with Outbox(tmp_path, receiver, max_batch=10) as outbox:
        for number in range(95):
            assert outbox.put({"n": number, "name": "ü", "x": [1.5, None]} if number % 2 else b"%d" % number)
        assert outbox.flush()
    assert receiver.entries[:2] == [b"0", {"n": 1, "name": "ü", "x": [1.5, None]}]
    assert [e["n"] if isinstance(e, dict) else int(e) for e in receiver.entries] == list(range(95))
    assert max(len(batch) for batch in receiver.batches) == 10
    assert list(tmp_path.iterdir()) == []


def test_entries_are_sent_after_the_interval_without_a_flush(tmp_path: Path) -> None:
    receiver = Receiver()
    with Outbox(tmp_path, receiver, flush_interval_s=0.05) as outbox:
        outbox.put(b"one")
        assert receiver.tried.wait(10)
    assert receiver.entries == [b"one"]


def test_a_mapping_may_be_changed_after_it_was_put(tmp_path: Path) -> None:
    receiver = Receiver()
    entry = {"step": 1}
    with Outbox(tmp_path, receiver) as outbox:
        outbox.put(entry)
        entry["step"] = 2
    assert receiver.entries == [{"step": 1}]


@pytest.mark.parametrize("error", [UnavailableError("x"), BusyError("x", retry_after_s=0.01), ConnectionResetError()])
def test_a_batch_is_sent_again_when_the_receiver_is_back(tmp_path: Path, error: Exception) -> None:
    receiver = Receiver()
    receiver.errors = [error, error]
    with Outbox(tmp_path, receiver, max_batch=2) as outbox:
        for number in range(5):
            outbox.put(b"%d" % number)
        assert outbox.flush(20)
    assert receiver.entries == [b"0", b"1", b"2", b"3", b"4"]


def test_what_was_not_sent_waits_on_disk_for_the_next_outbox(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.away = True
    first = Outbox(tmp_path, receiver)
    for number in range(100):
        first.put({"n": number})
    assert not first.close(0.2)
    receiver.away = False
    with Outbox(tmp_path, receiver) as second:
        second.put({"n": 100})
        assert second.flush(20)
    assert [entry["n"] for entry in receiver.entries] == list(range(101))
    assert list(tmp_path.iterdir()) == []


def test_logs_longer_than_a_segment_keep_their_order(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.away = True
    outbox = Outbox(tmp_path, receiver, max_batch=50)
    for number in range(200):
        outbox.put(b"%06d" % number + b"x" * 100_000)
    assert len(list(tmp_path.glob("*.wal"))) > 3
    receiver.away = False
    assert outbox.flush(30)
    outbox.close()
    assert [int(entry[:6]) for entry in receiver.entries] == list(range(200))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [InvalidError("wrong metric"), StaleLeaseError("old"), ValueError("a bug")])
def test_a_refused_batch_is_kept_aside_and_the_next_goes_on(tmp_path: Path, error: Exception) -> None:
    receiver = Receiver()
    receiver.errors = [error]
    refused: list[Any] = []
    with Outbox(tmp_path, receiver, max_batch=2, on_refused=lambda batch, why: refused.append((batch, why))) as outbox:
        outbox.put(b"a")
        outbox.put({"b": 1})
        assert outbox.flush()
        outbox.put(b"c")
    assert refused == [([b"a", {"b": 1}], error)]
    assert receiver.entries == [b"c"]
    kept = read_refused(tmp_path)
    assert kept[0]["entries"] == [b"a", {"b": 1}]
    assert str(error) in kept[0]["error"]


def test_a_full_log_drops_new_entries_and_says_so(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.away = True
    outbox = Outbox(tmp_path, receiver, max_bytes=8 << 20)
    kept = [outbox.put(bytes(1 << 20)) for _ in range(10)]
    assert kept == [True] * 6 + [False] * 4
    assert outbox.dropped == 4
    receiver.away = False
    assert outbox.flush(20)
    assert outbox.put(b"room again")
    outbox.close()
    assert len(receiver.entries) == 7


def test_an_entry_larger_than_a_segment_is_refused(tmp_path: Path) -> None:
    with Outbox(tmp_path, Receiver()) as outbox, pytest.raises(InvalidError, match="larger than a segment"):
        outbox.put(bytes(5 << 20))


def test_a_closed_outbox_takes_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, Receiver())
    outbox.close()
    with pytest.raises(InvalidError, match="closed"):
        outbox.put(b"x")
    assert outbox.close()


def test_many_threads_put_at_once(tmp_path: Path) -> None:
    receiver = Receiver()
    with Outbox(tmp_path, receiver) as outbox:

        def put(start: int) -> None:
            for number in range(start, start + 5000):
                outbox.put(b"%d" % number)

        threads = [threading.Thread(target=put, args=(start,)) for start in range(0, 40_000, 5000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(map(int, receiver.entries)) == list(range(40_000))


def test_two_live_outboxes_on_a_folder_send_only_their_own(tmp_path: Path) -> None:
    ours, theirs = Receiver(), Receiver()
    ours.away = True
    first = Outbox(tmp_path, ours)
    first.put(b"first")
    with Outbox(tmp_path, theirs) as second:
        second.put(b"second")
        assert second.flush()
    assert theirs.entries == [b"second"]
    ours.away = False
    assert first.close(20)
    assert ours.entries == [b"first"]


def test_a_damaged_entry_ends_its_segment_and_stops_nothing(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.away = True
    first = Outbox(tmp_path, receiver)
    for number in range(3):
        first.put(b"entry %d" % number)
    first.close(0.1)
    path = next(tmp_path.glob("*.wal"))
    path.write_bytes(path.read_bytes().replace(b"entry 1", b"entry X"))
    (tmp_path / "zz.wal").write_bytes(b"no log at all")
    receiver.away = False
    with Outbox(tmp_path, receiver) as second:
        second.put(b"new")
        assert second.flush(20)
    assert receiver.entries == [b"entry 0", b"new"]


def test_a_forked_child_sends_its_own_and_leaves_the_parents(tmp_path: Path, child: Callable[..., int]) -> None:
    def keep(batch: list[Any]) -> None:
        with (tmp_path / "got").open("ab") as file:
            file.write(b"".join(entry + b"\n" for entry in batch))

    outbox = Outbox(tmp_path / "outbox", keep, flush_interval_s=60)
    outbox.put(b"parent")

    def body() -> None:
        outbox.put(b"child")
        assert outbox.close(10)

    assert child(body) == 0
    assert (tmp_path / "got").read_bytes() == b"child\n"
    assert outbox.close()
    assert (tmp_path / "got").read_bytes() == b"child\nparent\n"


@pytest.fixture
def child() -> Callable[[Callable[[], None]], int]:
    """Runs a function in a forked child and returns its exit code."""

    def run(body: Callable[[], None]) -> int:
        pid = os.fork()
        if not pid:
            try:
                body()
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return run
