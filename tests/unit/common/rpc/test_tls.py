"""TLS and mTLS with certificates made here."""

import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proto.gen.modelwright.common.v1 import job_pb2, job_pb2_grpc
from services.common.errors import InvalidError, UnavailableError
from services.common.rpc import Peer, RpcServer, call
from services.common.settings import TlsSettings


class Jobs(job_pb2_grpc.JobServiceServicer):
    def GetJob(self, request, context):
        return job_pb2.GetJobResponse(job=job_pb2.Job(id=request.id))


def issue(folder, name, issuer=None):
    """Write `name.pem` and `name.key`, signed by `issuer` or by itself, and return (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(issuer[1] if issuer else key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key


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
