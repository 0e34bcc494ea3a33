import threading
import time
from collections.abc import Iterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from proto.gen.modelwright.common.v1 import job_pb2, job_pb2_grpc
from services.common.errors import BusyError, InvalidError, NotFoundError, StaleLeaseError, UnavailableError, Violation
from services.common.logs import REQUEST_ID
from services.common.rpc import Peer, RpcServer, call, stream


class Jobs(job_pb2_grpc.JobServiceServicer):
    """Fails as the id says."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def GetJob(self, request, context):
        failures = {
            "invalid": InvalidError("two faults", violations=[Violation(field="a.b", message="no such key 'b'")]),
            "many": InvalidError("many", violations=[Violation(field=f"f{i}", message="x" * 500) for i in range(300)]),
            "missing": NotFoundError("no job 'missing'"),
            "stale": StaleLeaseError("the lease is gone"),
            "busy": BusyError("full", retry_after_s=7),
            "crash": ZeroDivisionError("secret"),
        }
        if request.id in failures:
            raise failures[request.id]
        return job_pb2.GetJobResponse(job=job_pb2.Job(id=request.id, message=REQUEST_ID.get()))

    def WatchJob(self, request, context):
        try:
            yield job_pb2.WatchJobResponse(job=job_pb2.Job(id=request.id))
            if request.id == "missing":
                raise NotFoundError("no job 'missing'")
            while context.is_active():
                time.sleep(0.01)
        finally:
            self.ended.set()


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def server(jobs: Jobs) -> Iterator[RpcServer]:
    server = RpcServer("test_svc", "127.0.0.1:0", threads=4)
    server.add(job_pb2_grpc.add_JobServiceServicer_to_server, jobs)
    server.start()
    yield server
    server.stop(0)


@pytest.fixture
def stub(server: RpcServer) -> Iterator[job_pb2_grpc.JobServiceStub]:
    peer = Peer(server.address)
    yield peer.stub(job_pb2_grpc.JobServiceStub)
    peer.close()


def test_an_answer_comes_back_with_the_callers_request_id(stub):
    REQUEST_ID.set("req_mine")
    answer = call(stub.GetJob, job_pb2.GetJobRequest(id="x"))
    REQUEST_ID.set("")
    assert answer.job.message == "req_mine"


def test_a_domain_error_crosses_the_wire_whole(stub):
    with pytest.raises(InvalidError, match="two faults") as caught:
        call(stub.GetJob, job_pb2.GetJobRequest(id="invalid"))
    assert caught.value.violations == (Violation(field="a.b", message="no such key 'b'"),)
    with pytest.raises(BusyError) as busy:
        call(stub.GetJob, job_pb2.GetJobRequest(id="busy"))
    assert busy.value.retry_after_s == 7
    with pytest.raises(StaleLeaseError):
        call(stub.GetJob, job_pb2.GetJobRequest(id="stale"))


def test_an_error_with_very_many_faults_still_arrives(stub):
    with pytest.raises(InvalidError, match="many") as caught:
        call(stub.GetJob, job_pb2.GetJobRequest(id="many"))
    assert len(caught.value.violations) == 100


def test_a_crash_tells_the_caller_nothing_of_the_inside(stub):
    with pytest.raises(Exception, match="internal error") as caught:
        call(stub.GetJob, job_pb2.GetJobRequest(id="crash"))
    assert "secret" not in str(caught.value)


def test_a_stream_that_fails_midway_raises_the_domain_error(stub):
    answers = stream(stub.WatchJob, job_pb2.WatchJobRequest(id="missing"))
    assert next(answers).job.id == "missing"
    with pytest.raises(NotFoundError):
        next(answers)


def test_a_client_that_leaves_ends_its_stream(stub, jobs):
    answers = stream(stub.WatchJob, job_pb2.WatchJobRequest(id="x"))
    next(answers)
    answers.close()
    assert jobs.ended.wait(5)


def test_streams_leave_threads_for_calls(stub):
    opened = [stream(stub.WatchJob, job_pb2.WatchJobRequest(id="x")) for _ in range(2)]
    for answers in opened:
        next(answers)
    with pytest.raises(BusyError, match="too many open streams"):
        next(stream(stub.WatchJob, job_pb2.WatchJobRequest(id="y")))
    assert call(stub.GetJob, job_pb2.GetJobRequest(id="z")).job.id == "z"
    for answers in opened:
        answers.close()


def test_health_and_reflection_name_the_service(server):
    name = "modelwright.common.v1.JobService"
    with grpc.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(service=name)).status == 1
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask])))
    assert name in [service.name for service in answer.list_services_response.service]


def test_a_call_waits_for_a_service_that_restarts(jobs):
    first = RpcServer("test_svc", "127.0.0.1:0")
    first.add(job_pb2_grpc.add_JobServiceServicer_to_server, jobs)
    first.start()
    peer = Peer(first.address)
    stub = peer.stub(job_pb2_grpc.JobServiceStub)
    call(stub.GetJob, job_pb2.GetJobRequest(id="x"))
    first.stop(0)
    second = RpcServer("test_svc", first.address)
    second.add(job_pb2_grpc.add_JobServiceServicer_to_server, jobs)
    threading.Timer(0.7, second.start).start()
    assert call(stub.GetJob, job_pb2.GetJobRequest(id="y")).job.id == "y"
    peer.close()
    second.stop(0)


def test_a_taken_port_is_named(server):
    with pytest.raises(UnavailableError, match=r"cannot listen on 127.0.0.1:\d+.*MODELWRIGHT_TEST_ADDRESS"):
        RpcServer("test_svc", server.address).start()


def test_nobody_there_is_said_plainly():
    stub = Peer("127.0.0.1:1").stub(job_pb2_grpc.JobServiceStub)
    with pytest.raises(UnavailableError, match="does not answer"):
        call(stub.GetJob, job_pb2.GetJobRequest(id="x"), timeout_s=0.5)
