"""KeyPair: a certificate, its key and the CA of the clients, read from files and tried out before they are used."""

import ssl
import time
from dataclasses import dataclass
from pathlib import Path

_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME: the dates are read from the certificate, and judged here."""


class TlsError(Exception):
    """The files cannot be used. The message says which, why, and the cure."""


@dataclass(frozen=True)
class TlsFiles:
    """Where the PEM files are. Without `client_ca` clients need no certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True)
class KeyPair:
    """What the files held, for gRPC as bytes, for HTTP as a context. Times are seconds since 1970."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    context: ssl.SSLContext
    from_s: float
    until_s: float

    def complaint(self) -> str:
        """Why clients refuse the certificate now; empty if its dates are right."""
        now_s = time.time()
        if now_s > self.until_s:
            return f"the certificate expired on {date(self.until_s)}: renew it"
        if now_s < self.from_s:
            return f"the certificate is valid only from {date(self.from_s)}: check its dates and this machine's clock"
        return ""


def date(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))


def read_key_pair(files: TlsFiles) -> KeyPair:
    """Raises TlsError for files that cannot be read, do not belong together, or with which no handshake succeeds."""
    certificate, key = _content(files.certificate), _content(files.key)
    client_ca = None if files.client_ca is None else _content(files.client_ca)
    context = _server_context(files)
    from_s, until_s = _try_out(context, files.certificate, certificate)
    if files.client_ca is not None and client_ca is not None:
        _require_clients_of(context, files.client_ca, client_ca)
    if (certificate, key) != (_content(files.certificate), _content(files.key)):  # the context has read them by itself
        raise TlsError(
            f"{files.certificate} and {files.key} changed while they were read: write them whole, and rename"
        )
    return KeyPair(certificate, key, client_ca, context, from_s, until_s)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{path} cannot be read ({error.strerror}): check the path and who may read it") from error


def _server_context(files: TlsFiles) -> ssl.SSLContext:
    """With the certificate and its key; TLS 1.2 or newer, and of 1.2 what has forward secrecy: Python's default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    asked = []

    def password() -> str:  # without it OpenSSL would ask at the terminal
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(files.certificate, files.key, password)
    except (OSError, ValueError) as error:
        raise TlsError(_why(files, error, bool(asked))) from error
    return context


def _why(files: TlsFiles, error: Exception, is_encrypted: bool) -> str:
    reason = getattr(error, "reason", None) or str(error)
    if is_encrypted:
        return f"{files.key} is encrypted: decrypt it with 'openssl pkey', and let only the server read it"
    if reason == "KEY_VALUES_MISMATCH":
        return f"{files.key} is not the key of {files.certificate}: give the two that belong together"
    return f"{files.certificate} and {files.key} are not a certificate and its key in PEM ({reason}): give such files"


def _require_clients_of(context: ssl.SSLContext, path: Path, authorities: bytes) -> None:
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii", "replace"))
    except (OSError, ValueError) as error:
        raise TlsError(
            f"{path} has no CA certificate in PEM: give the one that signs your clients' certificates"
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED


def _try_out(server: ssl.SSLContext, path: Path, certificate: bytes) -> tuple[float, float]:
    """Shake hands in memory with a client that trusts this very certificate; returns its dates."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.load_verify_locations(cadata=certificate.decode("ascii", "replace"))
        ends = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
        for end in ends * 2:  # TLS 1.3 needs two turns of the client and one of the server
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
        found = ends[0].getpeercert() or {}
    except (OSError, ValueError) as error:
        why = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
        raise TlsError(f"{path} is refused by clients ({why}): make a certificate for a TLS server") from error
    return ssl.cert_time_to_seconds(str(found["notBefore"])), ssl.cert_time_to_seconds(str(found["notAfter"]))
