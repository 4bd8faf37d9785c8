"""Credentials: gRPC's view of the certificates. TLS 1.2 or newer is gRPC's own least."""

import grpc

from server.network.certificates import Certificates
from server.network.key_pair import KeyPair


def server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Credentials that follow renewed files: gRPC asks at the start of each connection, on a thread of its own."""
    first = handed = certificates.newest

    def newer() -> grpc.ServerCertificateConfiguration | None:
        nonlocal handed
        newest = certificates.newest
        if newest is handed:
            return None
        handed = newest
        return _configuration(newest)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(first),
        newer,  # type: ignore[arg-type]  # None stands for no change
        require_client_authentication=first.client_ca is not None,
    )


def _configuration(pair: KeyPair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pair.key, pair.certificate)], pair.client_ca)
