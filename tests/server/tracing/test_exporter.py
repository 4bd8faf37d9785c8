"""The exporter drops rather than waits, and says so once."""

import logging
import socket
import time

import pytest

from server.exchange import Exchange
from server.trace import Trace
from server.tracing.collector import Collector, CollectorError
from server.tracing.exporter import MOST_WAITING, Exporter
from tests.support.collector import collector


class Counts:
    def __init__(self) -> None:
        self.sent = self.dropped = 0

    def count(self, outcome: str, records: int) -> None:
        setattr(self, outcome, getattr(self, outcome) + records)


def ended() -> Exchange:
    return Exchange("id", trace=Trace.begun(), face="rest", method="POST", status="200", ended_at_s=time.monotonic())


def test_what_waits_is_bounded_while_the_collector_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are accepted by the kernel, and never read
        counts = Counts()
        exporter = Exporter(Collector(f"http://127.0.0.1:{silent.getsockname()[1]}", 600), {}, counts.count)
        exporter.start()
        most = 0
        for _ in range(3 * MOST_WAITING):
            exporter.request(ended())
            most = max(most, len(exporter._waiting))
        assert most == MOST_WAITING
        assert counts.dropped >= MOST_WAITING
        assert counts.sent == 0
        exporter.close(within_s=0.01)  # it returns although the thread waits
    exporter.close(60)  # what it tells of the broken connection is no other test's


def test_a_collector_that_refuses_is_warned_of_once_and_used_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with collector() as there:
        counts, there.status = Counts(), 503
        exporter = Exporter(Collector(there.url, 60), {"service.name": "sesame"}, counts.count)
        exporter.start()
        for dropped in (1, 2):
            exporter.request(ended())
            while counts.dropped < dropped:
                time.sleep(0.001)
        there.status = 200
        exporter.request(ended())
        while counts.sent < 1:
            time.sleep(0.001)
        exporter.close(60)
        assert len(there.spans()) == 1
    words = [record.getMessage() for record in caplog.records if record.name == "server.tracing.exporter"]
    assert words == [
        "spans are dropped until the collector of otlp_endpoint takes them: it answered 503 Service Unavailable",
        "the collector takes spans again",
    ]


def test_a_kept_connection_that_was_closed_is_opened_again() -> None:
    with collector() as there, Collector(there.url, 60) as client:
        client.send(b"")
        assert client._connection
        assert client._connection.sock
        client._connection.sock.shutdown(socket.SHUT_RDWR)
        client.send(b"")
        assert there.posts == 2


def test_a_collector_that_is_not_there_is_an_error() -> None:
    with Collector("http://127.0.0.1:1", 60) as client, pytest.raises(CollectorError, match="Connection refused"):
        client.send(b"")


def test_the_path_may_be_given_or_not() -> None:
    with collector() as there:
        for path in ("", "/", "/v1/traces"):
            with Collector(there.url + path, 60) as client:
                client.send(b"")
        with Collector(f"{there.url}/elsewhere", 60) as client, pytest.raises(CollectorError, match="404"):
            client.send(b"")
