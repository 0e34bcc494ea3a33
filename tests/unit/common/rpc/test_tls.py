"""TLS and mTLS with certificates made here."""

import pytest

from proto.gen.modelwright.common.v1 import job_pb2, job_pb2_grpc
from services.common.errors import InvalidError, UnavailableError
from services.common.rpc import Peer, RpcServer, call
from services.common.settings import TlsSettings
from tests.certificates import issue


class Jobs(job_pb2_grpc.JobServiceServicer):
    def GetJob(self, request, context):
        return job_pb2.GetJobResponse(job=job_pb2.Job(id=request.id))


@pytest.fixture
def certificates(tmp_path):
    authority = issue(tmp_path, "ca")
    issue(tmp_path, "server", authority)
    issue(tmp_path, "client", authority)
    issue(tmp_path, "stranger")
    return tmp_path


@pytest.fixture
def server(certificates):
    tls = TlsSettings(
        certificate=certificates / "server.pem",
        key=certificates / "server.key",
        ca=certificates / "ca.pem",
        require_client_certificate=True,
    )
    server = RpcServer("test_svc", "127.0.0.1:0", tls=tls)
    server.add(job_pb2_grpc.add_JobServiceServicer_to_server, Jobs())
    server.start()
    yield server
    server.stop(0)


def ask(server, tls):
    stub = Peer(server.address, tls).stub(job_pb2_grpc.JobServiceStub)
    return call(stub.GetJob, job_pb2.GetJobRequest(id="x"), timeout_s=2).job.id


def client(folder, name, ca="ca"):
    return TlsSettings(certificate=folder / f"{name}.pem", key=folder / f"{name}.key", ca=folder / f"{ca}.pem")


def test_peers_that_trust_each_other_talk(server, certificates):
    assert ask(server, client(certificates, "client")) == "x"


@pytest.mark.parametrize("tls", ["none", "no certificate", "stranger", "wrong authority"])
def test_others_are_refused(server, certificates, tls):
    settings = {
        "none": TlsSettings(),
        "no certificate": TlsSettings(ca=certificates / "ca.pem"),
        "stranger": client(certificates, "stranger"),
        "wrong authority": client(certificates, "client", ca="stranger"),
    }[tls]
    with pytest.raises(UnavailableError):
        ask(server, settings)


def test_half_a_configuration_is_named(certificates):
    with pytest.raises(InvalidError, match="both a certificate and its key"):
        RpcServer("test_svc", "127.0.0.1:0", tls=TlsSettings(certificate=certificates / "server.pem"))
