"""Web files: a web server on this machine over a folder, which can break off, redirect, lie, and wait."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class WebFiles:
    """What the server does, and what it did. `breaks`: after how many bytes of a body the next answers break off.

    `ranges`: whether it can begin in the middle of a file. `special`: paths that are answered by a function.
    `sent`: bytes of bodies by path. `asked`: path, Range and Authorization of each request.
    """

    root: Path
    ranges: bool = True
    breaks: dict[str, list[int]] = field(default_factory=dict)
    special: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.partition("?")[0]
        self.asked.append((handler.path, handler.headers.get("Range", ""), handler.headers.get("Authorization", "")))
        if path in self.special:
            return self.special[path](handler)
        file = self.root / path.lstrip("/")
        if not file.is_file():
            return handler.send_error(404)
        return self._send(handler, path, file.read_bytes())

    def _send(self, handler: BaseHTTPRequestHandler, path: str, content: bytes) -> None:
        start = 0
        if self.ranges and (asked := re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))):
            start = int(asked[1])
            if start >= len(content):
                return handler.send_error(416)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        body = content[start:]
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.breaks.get(path):
            body = body[: self.breaks[path].pop(0)]
            handler.close_connection = True
        handler.wfile.write(body)
        self.sent[path] = self.sent.get(path, 0) + len(body)
        return None


@contextlib.contextmanager
def web_files(root: Path) -> Iterator[WebFiles]:
    """Serve a folder on a free port."""
    files = WebFiles(root)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):  # the client has left
                files.answer(self)

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        files.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()
