"""Group commit: callers share transactions, never one another's faults."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from services.common.db import Database
from services.common.errors import BusyError, StaleLeaseError, UnavailableError
from services.common.jobs import Job, Lease
from services.common.signals import Signal
from services.train_svc.models import METADATA, SCHEMA, Entry
from services.train_svc.repository import points
from services.train_svc.service import Ingest, MetricService, RunRequest, RunService


class Held:
    """Knows one lease; opening the gate lets the writer go on."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.reached = threading.Event()

    def check(self, session: Session, lease: Lease) -> Job:
        self.reached.set()
        assert self.gate.wait(20)
        raise StaleLeaseError(f"token {lease.token} is old")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'train.sqlite'}", SCHEMA, METADATA)
    made.migrate("services.train_svc.migrations")
    yield made
    made.close()


def entry(run_id: str, step: int) -> Entry:
    return Entry(run_id=run_id, points={"loss": [(step, 1.0, 100.0)]})


def test_callers_that_wait_together_are_answered_each_for_itself(database: Database) -> None:
    held, signal = Held(), Signal()
    run = RunService(database, signal).create(RunRequest(project="p")).id
    ingest = Ingest(database, held.check, signal.notify)
    ingest.start()
    with ThreadPoolExecutor(10) as pool:
        stale = pool.submit(ingest.write, [entry(run, 99)], Lease(job_id="j", token=1))
        assert held.reached.wait(20)
        good = [pool.submit(ingest.write, [entry(run, step)]) for step in range(5)]
        again = pool.submit(ingest.write, [entry(run, 98)], Lease(job_id="j", token=0))
        held.gate.set()
        assert [future.result() for future in good] == [{}] * 5
        for future in (stale, again):
            with pytest.raises(StaleLeaseError):
                future.result()
    ingest.stop()
    (series,) = MetricService(database, ingest, signal).read(run, keys=[], after_step=None, max_points=0)
    assert series.steps == [0, 1, 2, 3, 4]


def test_a_full_queue_is_told_to_the_caller_and_what_waits_is_still_written(database: Database) -> None:
    held, signal = Held(), Signal()
    run = RunService(database, signal).create(RunRequest(project="p")).id
    ingest = Ingest(database, held.check, signal.notify, queue_points=2)
    ingest.start()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ingest.write, [entry(run, 1)], Lease(job_id="j", token=1))
        assert held.reached.wait(20)
        second = pool.submit(ingest.write, [entry(run, 2)])
        while not ingest.waiting_points == 2:
            pass
        with pytest.raises(BusyError):
            ingest.write([entry(run, 3)])
        held.gate.set()
        assert second.result() == {}
        with pytest.raises(StaleLeaseError):
            first.result()
    ingest.stop()


def test_a_database_that_is_away_fails_the_call_and_the_next_one_works(database: Database) -> None:
    signal = Signal()
    run = RunService(database, signal).create(RunRequest(project="p")).id
    ingest = Ingest(database, Held().check, signal.notify)
    ingest.start()
    with database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE metric_points RENAME TO gone")
    with pytest.raises(UnavailableError):
        ingest.write([entry(run, 1)])
    with database.write() as session:
        session.connection().exec_driver_sql("ALTER TABLE gone RENAME TO metric_points")
    assert ingest.write([entry(run, 1)]) == {}
    ingest.stop()
    with database.read() as session:
        (cursor,) = points.cursors(session, 1)
    assert (cursor.step, cursor.rewinds) == (1, 0)
