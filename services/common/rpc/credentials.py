"""TLS and mTLS for gRPC, from settings."""

import ssl

import grpc

from services.common.errors import InvalidError
from services.common.settings import TlsSettings


def server_credentials(tls: TlsSettings) -> grpc.ServerCredentials | None:
    """Return what a server shows and demands, or None for plain text."""
    if not tls.certificate and not tls.key:
        return None
    if not tls.certificate or not tls.key:
        raise InvalidError("TLS needs both a certificate and its key; set the other one too", field="tls")
    if tls.require_client_certificate and not tls.ca:
        raise InvalidError("require_client_certificate needs `ca`: whose signatures to trust", field="tls.ca")
    return grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.certificate.read_bytes())],
        root_certificates=tls.ca.read_bytes() if tls.ca else None,
        require_client_auth=tls.require_client_certificate,
    )


def http_context(tls: TlsSettings) -> ssl.SSLContext | None:
    """Return how an HTTPS client trusts servers and shows itself, or None where the system's authorities do."""
    if not tls.ca:
        return None
    context = ssl.create_default_context(cafile=str(tls.ca))
    if tls.certificate and tls.key:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def channel_credentials(tls: TlsSettings) -> grpc.ChannelCredentials | None:
    """Return how a client trusts servers and shows itself, or None for plain text."""
    if not tls.ca:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=tls.ca.read_bytes(),
        private_key=tls.key.read_bytes() if tls.key else None,
        certificate_chain=tls.certificate.read_bytes() if tls.certificate else None,
    )
