"""Collector: where spans are sent: OTLP over HTTP, as protobuf. Its caller's thread waits."""

import contextlib
import http.client
import ssl
from typing import Self
from urllib.parse import urlsplit

PATH = "/v1/traces"


class CollectorError(Exception):
    """The spans did not arrive. The message says why."""


class Collector:
    """Keeps one connection open. One thread uses it."""

    def __init__(self, endpoint: str, limit_s: float) -> None:
        """`endpoint`: http://host:4318, perhaps with a path before /v1/traces. `limit_s`: of each wait for it."""
        url = urlsplit(endpoint)
        self._secure, self._limit_s = url.scheme == "https", limit_s
        self._host, self._port = url.hostname or "", url.port or 4318
        self._path = url.path.rstrip("/").removesuffix(PATH) + PATH
        self._connection: http.client.HTTPConnection | None = None

    def send(self, body: bytes) -> None:
        """Send an ExportTraceServiceRequest. Raises CollectorError."""
        kept = self._connection is not None
        try:
            self._post(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not kept:
                raise CollectorError(_why(error)) from None
            self.send(body)  # it had closed the kept connection meanwhile

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _post(self, body: bytes) -> None:
        if self._connection is None:
            self._connection = self._connected()
        self._connection.request("POST", self._path, body, {"Content-Type": "application/x-protobuf"})
        response = self._connection.getresponse()
        response.read(1 << 20)
        if response.will_close or not response.isclosed():
            self.close()
        if not 200 <= response.status < 300:
            raise CollectorError(f"it answered {response.status} {response.reason[:100]}")

    def _connected(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._limit_s)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._limit_s, context=context)


def _why(error: Exception) -> str:
    with contextlib.suppress(AttributeError):
        if error.strerror:  # type: ignore[attr-defined]
            return str(error.strerror)  # type: ignore[attr-defined]
    return str(error) or type(error).__name__
