"""Slow proxy: hands bytes on between clients and a server, and holds a connection that carries too many."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class SlowProxy:
    """`holds` is set when the first connection is held. A held one hands nothing on until the end."""

    most_bytes: int
    url: str = ""
    holds: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        came = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                came += len(data)
                if came > self.most_bytes:
                    self.holds.set()
                    self.ended.wait()
                target.sendall(data)
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def slow_proxy(url: str, most_bytes: int) -> Iterator[SlowProxy]:
    """A proxy in front of the server at this URL, on a free port."""
    proxy = SlowProxy(most_bytes)
    host, port = urlsplit(url).hostname, urlsplit(url).port
    assert host
    assert port
    sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((host, port))
                sockets.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threads.append(threading.Thread(target=proxy.pump, args=pair, daemon=True))
                    threads[-1].start()

    listener = socket.create_server(("127.0.0.1", 0))
    proxy.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    accepting = threading.Thread(target=accept, args=(listener,), daemon=True)
    accepting.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for one in sockets:
            one.close()
