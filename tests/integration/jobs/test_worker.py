"""Jobs through a real Redis, real gRPC and real worker processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from sqlalchemy import MetaData

from services.common.db import Database
from services.common.jobs import JobService, JobState, job_tables
from services.common.jobs.bell import CeleryBell, celery_app
from services.common.jobs.reaper import reaper_of
from services.common.jobs.server import add_job_service
from services.common.rpc import RpcServer

ROOT = Path(__file__).resolve().parents[3]


class Office:
    """A service with jobs, and the workers that a test hires."""

    def __init__(self, tmp_path, redis_url):
        metadata = MetaData()
        tables = job_tables(metadata)
        self.database = Database(f"sqlite:///{tmp_path / 'jobs.sqlite'}", "test_svc", metadata)
        metadata.create_all(self.database.engine)
        self.bell = CeleryBell(celery_app(redis_url), "test_svc")
        self.jobs = JobService(self.database, tables, self.bell, lease_s=2.0, ring_again_s=1.0)
        self.reaper = reaper_of(self.jobs, 0.2)
        self.redis_url = redis_url
        self.workers = {}
        self.address = "127.0.0.1:0"
        self.open()
        self.reaper.start()

    def open(self):
        self.server = RpcServer("test_svc", self.address)
        add_job_service(self.server, self.jobs)
        self.server.start()
        self.address = self.server.address

    def hire(self, name="w1", grace_s="5"):
        environment = {
            **os.environ,
            "MODELWRIGHT_BROKER_URL": self.redis_url,
            "MODELWRIGHT_GRACE_S": grace_s,
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, str(ROOT / "tests/integration/jobs/worker_main.py"), self.address, name]
        self.workers[name] = subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True)
        self.until(lambda: any(worker.name == name for worker in self.jobs.workers()), timeout_s=30)
        return self.workers[name]

    def submit(self, kind, **spec):
        with self.database.write() as session:
            return self.jobs.submit(session, kind=kind, project="p", queue="cpu", spec=spec).id

    def until(self, true, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    def ended(self, job_id, timeout_s=20.0):
        self.until(lambda: self.jobs.get(job_id).state.ended, timeout_s)
        return self.jobs.get(job_id)

    def log(self, job_id):
        groups = self.jobs.read_log(job_id, 0, follow=False, leave=lambda: False)
        return [line.text for group in groups for line in group]

    def close(self):
        for process in self.workers.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.reaper.stop()
        self.server.stop(0)
        self.bell.close()


@pytest.fixture
def office(tmp_path, redis_url):
    office = Office(tmp_path, redis_url)
    yield office
    office.close()


def test_a_job_runs_and_its_output_result_and_end_are_kept(office):
    office.hire()
    job = office.ended(office.submit("add", a=2, b=3))
    assert (job.state, job.result, job.message) == (JobState.SUCCEEDED, {"sum": 5, "attempt": 1}, "half way")
    assert office.log(job.id) == ["attempt 1 on worker w1", "adding", "to stderr", "succeeded"]


def test_each_way_to_fail_is_told_apart(office):
    office.hire()
    refused, crashed, unknown = office.submit("refuse"), office.submit("crash"), office.submit("dance")
    assert office.ended(refused).error == "the spec asks for nothing; give it a task"
    assert "SIGKILL" in office.ended(crashed).error
    assert "does not know jobs of kind 'dance'" in office.ended(unknown).error
    assert office.ended(office.submit("add", a=1, b=1)).state is JobState.SUCCEEDED


def test_jobs_queued_when_redis_is_wiped_still_run(office):
    ids = [office.submit("add", a=i, b=i) for i in range(3)]
    time.sleep(0.3)
    redis.Redis(unix_socket_path=office.redis_url.removeprefix("redis+socket://")).flushall()
    office.hire()
    assert [office.ended(job_id).state for job_id in ids] == [JobState.SUCCEEDED] * 3


def test_a_bell_is_heard_after_redis_was_wiped_under_a_worker(office):
    office.hire()
    redis.Redis(unix_socket_path=office.redis_url.removeprefix("redis+socket://")).flushall()
    assert office.ended(office.submit("add", a=1, b=2)).state is JobState.SUCCEEDED


def test_a_cancelled_job_saves_and_leaves(office):
    office.hire()
    job_id = office.submit("wait")
    office.until(lambda: "waiting" in office.log(job_id))
    office.jobs.cancel(job_id)
    assert office.ended(job_id).state is JobState.CANCELLED
    assert "checkpoint kept" in office.log(job_id)


def test_a_body_that_ignores_a_cancel_is_killed_after_its_grace(office):
    office.hire(grace_s="0.5")
    job_id = office.submit("linger")
    office.until(lambda: office.jobs.get(job_id).state is JobState.RUNNING)
    time.sleep(0.3)
    office.jobs.cancel(job_id)
    assert office.ended(job_id).state is JobState.CANCELLED


def test_a_preempted_job_saves_queues_and_runs_again(office):
    office.hire()
    job_id = office.submit("wait")
    office.until(lambda: "waiting" in office.log(job_id))
    office.jobs.preempt(job_id)
    assert office.ended(job_id).result == {"attempt": 2}
    assert "checkpoint kept" in office.log(job_id)


def test_a_worker_told_to_stop_hands_its_job_on(office):
    first = office.hire()
    job_id = office.submit("wait")
    office.until(lambda: "waiting" in office.log(job_id))
    office.hire("w2")
    first.terminate()
    assert office.ended(job_id).result == {"attempt": 2}
    assert office.jobs.get(job_id).worker == "w2"
    assert first.wait(20) == 0


def test_a_killed_worker_costs_one_attempt(office):
    first = office.hire(grace_s="0.2")
    job_id = office.submit("linger")
    office.until(lambda: office.jobs.get(job_id).state is JobState.RUNNING)
    first.kill()
    office.hire("w2")
    job = office.ended(job_id)
    assert (job.result, job.worker, job.attempt) == ({"attempt": 2}, "w2", 2)
    assert any("w1 was lost" in line for line in office.log(job_id))


def test_a_worker_that_wakes_after_its_lease_is_refused(office):
    first = office.hire()
    job_id = office.submit("wait")
    office.until(lambda: "waiting" in office.log(job_id))
    os.killpg(first.pid, signal.SIGSTOP)
    office.hire("w2")
    job = office.ended(job_id)
    os.killpg(first.pid, signal.SIGCONT)
    time.sleep(2)
    assert (job.worker, office.jobs.get(job_id)) == ("w2", job)


def test_a_service_restarted_in_the_middle_loses_nothing(office):
    office.hire()
    job_id = office.submit("wait")
    office.until(lambda: "waiting" in office.log(job_id))
    office.server.stop(0)
    time.sleep(1)
    office.open()
    office.jobs.cancel(job_id)
    assert office.ended(job_id).state is JobState.CANCELLED
    assert office.jobs.get(job_id).attempt == 1
