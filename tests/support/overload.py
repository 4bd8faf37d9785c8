"""Overload: clients that ask so much of a server that it refuses some of it."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx

from tests.support.pictures import jpeg

OPTIONS = ("--queue-images=4", "--max-images=4")
"""Of a server that refuses what `Overload` asks beyond four images at a time."""

_CLIENTS = 12


class Overload:
    """Threads that each send a photo as soon as the last was answered, until the context is left."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        """`headers`: of every request."""
        self._headers = headers
        self._url = f"http://127.0.0.1:{port}/classify"
        self._ended = threading.Event()
        self.seen: set[int] = set()
        self._threads = [threading.Thread(target=self._ask, args=(seed,), daemon=True) for seed in range(_CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def until_seen(self, *statuses: int) -> None:
        """Wait until answers had all of these."""
        while not self.seen.issuperset(statuses):
            self._ended.wait(0.01)

    def _ask(self, seed: int) -> None:
        with httpx.Client(timeout=60, headers=self._headers) as http:
            for number in range(1 << 30):
                if self._ended.is_set():
                    return
                photo = jpeg(seed) + number.to_bytes(4)  # another one each time, so that none shares an answer
                self.seen.add(http.post(self._url, content=photo).status_code)
                self._ended.wait(0.02)  # leaves the machine to Prometheus too
