"""Ready: asks the server that runs here with the same settings whether it is ready, for health checks."""

import http.client
import socket
import ssl
from pathlib import Path

from server.settings import Settings

_LIMIT_S = 2.0
_ANY_ADDRESS = ("0.0.0.0", "::")


class _OverUnixSocket(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_LIMIT_S)
        self.sock.connect(str(self._path))


def fault(settings: Settings) -> str:
    """Why the server is not ready; empty if it is. Waits for two seconds at most for each step."""
    if not settings.uds and settings.http_port == 0:
        return "the port is not known: give http_port, not 0"
    if not settings.uds and settings.tls_client_ca:
        return "clients need a certificate (tls_client_ca), and there is none here: set uds too, which needs none"
    connection = _connection(settings)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"it does not answer ({error})"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"its /readyz says {status}"


def _connection(settings: Settings) -> http.client.HTTPConnection:
    """Over the Unix socket where there is one, else to its port. Its certificate names others than this machine."""
    if settings.uds:
        return _OverUnixSocket(Path(settings.uds))
    host = "localhost" if settings.host in _ANY_ADDRESS else settings.host
    if not settings.tls_cert:
        return http.client.HTTPConnection(host, settings.http_port, timeout=_LIMIT_S)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, settings.http_port, timeout=_LIMIT_S, context=trusting)
