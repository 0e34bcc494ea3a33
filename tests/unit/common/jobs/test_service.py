import threading

import pytest
from sqlalchemy import MetaData, text

from services.common.db import Database
from services.common.errors import ConflictError, InvalidError, NotFoundError, StaleLeaseError
from services.common.jobs import JobService, JobState, Lease, LogLine, WorkerInfo, job_tables


class SilentBell:
    """Notes who was rung."""

    def __init__(self):
        self.rung = []

    def ring(self, job_id, queue):
        self.rung.append((job_id, queue))


class Office:
    """The service, and the database that callers submit in."""

    def __init__(self, jobs, database):
        self._jobs, self.database = jobs, database

    def __getattr__(self, name):
        return getattr(self._jobs, name)


@pytest.fixture
def bell():
    return SilentBell()


@pytest.fixture
def changes():
    return []


@pytest.fixture
def jobs(database_url, bell, changes):
    metadata = MetaData()
    tables = job_tables(metadata)
    database = Database(database_url, "test_svc", metadata)
    if not database.is_sqlite:
        with database.write() as session:
            session.execute(text("CREATE SCHEMA test_svc"))
    metadata.create_all(database.engine)
    service = JobService(
        database, tables, bell, lease_s=0.05, ring_again_s=0.05,
        on_change=lambda session, job: changes.append((job.id, job.state)),
    )  # fmt: skip
    yield Office(service, database)
    database.close()


def submit(jobs, **values):
    with jobs.database.write() as session:
        given = {"kind": "train", "project": "p", "queue": "cpu", "spec": {"epochs": 3}, **values}
        return jobs.submit(session, **given)


def leave():
    return False


def logged(jobs, job_id):
    groups = jobs.read_log(job_id, 0, follow=False, leave=leave)
    return [(line.stream, line.text) for group in groups for line in group]


def test_a_submitted_job_waits_with_its_reason_and_rings(jobs, bell):
    job = submit(jobs)
    assert job.state is JobState.QUEUED
    assert job.queue_position == 1
    assert job.waiting_reason == "no worker serves queue 'cpu' (no worker is running); start one with --queues cpu"
    assert bell.rung == [(job.id, "cpu")]


def submit_and_fail(jobs):
    with jobs.database.write() as session:
        jobs.submit(session, kind="train", project="p", queue="cpu", spec={})
        raise KeyError


def test_a_transaction_that_fails_rings_nobody(jobs, bell):
    with pytest.raises(KeyError):
        submit_and_fail(jobs)
    assert bell.rung == []


def test_one_key_is_one_job(jobs):
    assert submit(jobs, idempotency_key="k").id == submit(jobs, idempotency_key="k").id
    assert submit(jobs, idempotency_key="other").id != submit(jobs, idempotency_key="k").id


def test_jobs_run_by_priority_then_age(jobs):
    old, new, urgent = submit(jobs), submit(jobs), submit(jobs, priority=5)
    assert [jobs.claim("w", ["cpu"])[0].id for _ in range(3)] == [urgent.id, old.id, new.id]
    assert jobs.claim("w", ["cpu"]) is None


def test_a_worker_gets_only_jobs_of_its_queues(jobs):
    submit(jobs, queue="gpu")
    assert jobs.claim("w", ["cpu"]) is None
    assert jobs.claim("w", ["cpu", "gpu"])[0].queue == "gpu"


def test_many_workers_claim_each_job_once(jobs):
    ids = {submit(jobs).id for _ in range(12)}
    claimed = []

    def take():
        while found := jobs.claim("w", ["cpu"]):
            claimed.append(found[0].id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(ids)


def test_a_finished_job_keeps_its_result(jobs, changes):
    job = submit(jobs)
    _, lease = jobs.claim("w", ["cpu"])
    jobs.renew(lease, progress=0.5, eta_s=3, message="half")
    assert (jobs.get(job.id).progress, jobs.get(job.id).eta_s, jobs.get(job.id).message) == (0.5, 3, "half")
    jobs.finish(lease, JobState.SUCCEEDED, result={"digest": "x"})
    ended = jobs.get(job.id)
    assert (ended.state, ended.progress, ended.result) == (JobState.SUCCEEDED, 1.0, {"digest": "x"})
    assert changes == [(job.id, JobState.RUNNING), (job.id, JobState.SUCCEEDED)]


def test_a_dead_lease_puts_the_job_back_and_fences_the_old_worker(jobs, bell):
    job = submit(jobs)
    _, old = jobs.claim("w1", ["cpu"])
    threading.Event().wait(0.1)
    jobs.reap()
    assert jobs.get(job.id).state is JobState.QUEUED
    assert len(bell.rung) == 2
    for write in (
        lambda: jobs.renew(old, progress=0.9),
        lambda: jobs.finish(old, JobState.SUCCEEDED),
        lambda: jobs.release(old, "x"),
    ):
        with pytest.raises(StaleLeaseError, match="token 1 is old"):
            write()
    again, new = jobs.claim("w2", ["cpu"])
    assert (again.attempt, new.token) == (2, 3)
    with pytest.raises(StaleLeaseError):
        jobs.renew(old)


def test_a_renewed_lease_is_not_reaped(jobs):
    job = submit(jobs)
    _, lease = jobs.claim("w", ["cpu"])
    for _ in range(4):
        threading.Event().wait(0.03)
        jobs.renew(lease)
        jobs.reap()
    assert jobs.get(job.id).state is JobState.RUNNING


def test_a_lost_bell_is_rung_again(jobs, bell):
    job = submit(jobs)
    jobs.reap()
    assert len(bell.rung) == 1
    threading.Event().wait(0.1)
    jobs.reap()
    assert bell.rung == [(job.id, "cpu")] * 2


def test_a_job_that_kills_its_workers_ends_as_failed(jobs):
    job = submit(jobs)
    for _ in range(5):
        jobs.claim("w", ["cpu"])
        threading.Event().wait(0.06)
        jobs.reap()
    assert jobs.get(job.id).state is JobState.FAILED
    assert "worker was lost 5 times" in jobs.get(job.id).error


def test_cancelling_a_queued_job_ends_it(jobs, changes):
    job = submit(jobs)
    assert jobs.cancel(job.id).state is JobState.CANCELLED
    assert jobs.claim("w", ["cpu"]) is None
    assert jobs.cancel(job.id).state is JobState.CANCELLED
    assert changes == [(job.id, JobState.CANCELLED)]


def test_cancelling_a_running_job_asks_its_worker(jobs):
    job = submit(jobs)
    _, lease = jobs.claim("w", ["cpu"])
    assert jobs.cancel(job.id).state is JobState.RUNNING
    assert jobs.renew(lease).cancel_requested
    jobs.finish(lease, JobState.CANCELLED)
    assert jobs.get(job.id).state is JobState.CANCELLED


def test_a_preempted_job_queues_again(jobs):
    job = submit(jobs)
    _, lease = jobs.claim("w", ["cpu"])
    jobs.preempt(job.id)
    assert jobs.renew(lease).preempt_requested
    jobs.release(lease, "preempted")
    assert jobs.get(job.id).state is JobState.QUEUED
    assert not jobs.claim("w", ["cpu"])[0].preempt_requested


def test_an_ended_job_cannot_be_preempted(jobs):
    job = submit(jobs)
    _, lease = jobs.claim("w", ["cpu"])
    jobs.finish(lease, JobState.FAILED, error="x")
    with pytest.raises(ConflictError, match="is failed"):
        jobs.preempt(job.id)


def test_lines_are_kept_once_over_all_attempts(jobs):
    job = submit(jobs)
    lines = [LogLine(seq=i, time=1.0, stream="stdout", text=f"line {i}") for i in (1, 2, 3)]
    _, lease = jobs.claim("w", ["cpu"])
    jobs.renew(lease, lines=lines[:2])
    jobs.renew(lease, lines=lines)
    jobs.release(lease, "preempted")
    _, lease = jobs.claim("w", ["cpu"])
    jobs.renew(lease, lines=lines[:1])
    assert logged(jobs, job.id) == [
        ("system", "attempt 1 on worker w"),
        ("stdout", "line 1"),
        ("stdout", "line 2"),
        ("stdout", "line 3"),
        ("system", "back on the queue: preempted"),
        ("system", "attempt 2 on worker w"),
        ("stdout", "line 1"),
    ]


def test_a_follower_sees_lines_and_then_the_end(jobs):
    job = submit(jobs)
    _, lease = jobs.claim("w", ["cpu"])
    seen: list[str] = []

    def follow():
        for group in jobs.read_log(job.id, 0, follow=True, leave=leave):
            seen.extend(line.text for line in group)

    thread = threading.Thread(target=follow)
    thread.start()
    jobs.renew(lease, lines=[LogLine(seq=1, time=1.0, stream="stdout", text="hello")])
    jobs.finish(lease, JobState.SUCCEEDED)
    thread.join(5)
    assert seen == ["attempt 1 on worker w", "hello", "succeeded"]


def test_a_watcher_sees_each_state_until_the_end(jobs):
    job = submit(jobs)
    states = []
    watch = jobs.watch(job.id, leave)
    states.append(next(watch).state)
    _, lease = jobs.claim("w", ["cpu"])
    states.append(next(watch).state)
    jobs.finish(lease, JobState.SUCCEEDED)
    states.extend(job.state for job in watch)
    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]


def test_waiting_is_explained_by_slots_and_those_ahead(jobs):
    submit(jobs)
    second = submit(jobs)
    jobs.report(WorkerInfo(name="w", queues=("cpu",), slots=2, busy_slots=2))
    assert jobs.get(second.id).waiting_reason == "1 job ahead; 0 of 2 slots of 1 worker free"
    jobs.report(WorkerInfo(name="w", queues=("cpu",), slots=2, busy_slots=0))
    assert jobs.get(second.id).waiting_reason == "a worker is about to take it"


def test_pages_hold_every_job_once_and_a_foreign_token_is_refused(jobs):
    ids = [submit(jobs).id for _ in range(5)]
    page = {"project": "p", "states": [], "subject": "", "page_size": 2}
    found, token = [], ""
    while True:
        rows, token = jobs.page(**page, page_token=token)
        found += [job.id for job in rows]
        if not token:
            break
        last = token
    assert found == ids[::-1]
    with pytest.raises(InvalidError, match="page_token"):
        jobs.page(**{**page, "project": "q"}, page_token=last)


def test_an_unknown_job_is_not_found(jobs):
    with pytest.raises(NotFoundError):
        jobs.get("job_x")
    with pytest.raises(StaleLeaseError):
        jobs.renew(Lease(job_id="job_x", token=1))
