"""A running `python -m server --fronts 2` on free ports, and clients that reach one front or any."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx

from tests.conftest import REPOSITORY
from tests.support.pictures import jpeg
from tests.support.process_tree import Tree

TOKEN = "a token of 16 characters and more"
FRONTS = ("front-0", "front-1")
LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) ((core|front-\d) )?[a-z][\w.]* \S.*"
)
"""A whole line of the log, of any process."""


class ServedTree(Tree):
    """Its standard error is read line by line."""

    def __init__(self, process: "subprocess.Popen[str]", repository: Path) -> None:
        super().__init__(process)
        self.processes: dict[str, int] = {}
        self.url = self.grpc = self.listening = ""
        self._ready: set[str] = set()
        self.repository = repository

    def listen(self) -> None:
        """Wait until the ports are open."""
        while not self.url:
            self._read_line("|listening")

    def ready(self, *names: str) -> None:
        """Wait until these are ready, since the ports are open or from now on."""
        while not self._ready.issuperset(names):
            self._read_line()
        self._ready.clear()

    def _read_line(self, more: str = "") -> None:
        """Wait for a line that tells something of a process."""
        line = self.until(rf"started pid=|core is ready| server\.startup\.app ready${more}")
        if started := re.search(r"(\S+) started pid=(\d+)$", line):
            self.processes[started[1]] = int(started[2])
        elif listening := re.search(r"listening http=(\S+) grpc=(\S+)", line):
            self.url, self.grpc = listening.groups()
            self.listening = line
        else:
            self._ready.add(line.split()[3])

    @asynccontextmanager
    async def client_of(self, front: str) -> AsyncIterator[httpx.AsyncClient]:
        """One connection to this front: no other one accepts while it is made."""
        others = [self.processes[name] for name in FRONTS if name != front]
        async with self.client() as http:
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            try:
                await http.get("/livez")
            finally:
                for pid in others:
                    os.kill(pid, signal.SIGCONT)
            yield http

    def client(self) -> httpx.AsyncClient:
        """One connection to whichever front accepts it."""
        limits = httpx.Limits(max_connections=1, keepalive_expiry=600)
        return httpx.AsyncClient(
            base_url=self.url, timeout=60, limits=limits, headers={"Authorization": f"Bearer {TOKEN}"}
        )


@contextmanager
def served_tree(repository: Path | str, cache: Path, *options: str, fronts: int = 2) -> Iterator[ServedTree]:
    """Started, and not ready yet. At the end it is killed, and all of its processes have ended."""
    command = [sys.executable, "-m", "server", f"--fronts={fronts}", "--http-port=0", "--grpc-port=0"]
    chosen = ["--engine=onnxruntime-cpu", "--precision=fp32", f"--cache-dir={cache}"]
    operated = [f"--model-repository={repository}", "--default-model=demo", f"--admin-token={TOKEN}"]
    patient = ["--max-wait-ms=600000", "--default-timeout-ms=600000", "--max-timeout-ms=600000"]
    with subprocess.Popen(
        [*command, *chosen, *operated, *patient, *options],
        cwd=REPOSITORY,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        tree = ServedTree(process, Path(repository))
        try:
            yield tree
        finally:
            tree.close()


class Load:
    """Connections that each send a photo as soon as the last was answered. `seen` counts what came of them."""

    def __init__(
        self, tree: ServedTree, connections: int, until: frozenset[str] = frozenset(), model: str = "demo"
    ) -> None:
        """A connection ends when it has seen one of `until`."""
        self._path = f"/classify?model={model}"
        self.seen: Counter[str] = Counter()
        self.refusals: list[httpx.Response] = []
        self._until = until
        self._ended = False
        self._asking = [asyncio.create_task(self._ask(tree, seed)) for seed in range(connections)]

    async def answered(self, more: int) -> None:
        """Wait until so many more requests were answered with 200."""
        enough = self.seen["200"] + more
        while self.seen["200"] < enough:
            await asyncio.sleep(0.01)

    async def has_seen(self, outcome: str) -> None:
        while not self.seen[outcome]:
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Let each connection receive its last answer."""
        self._ended = True
        await self.all_ended()

    async def all_ended(self) -> None:
        await asyncio.gather(*self._asking)

    async def _ask(self, tree: ServedTree, seed: int) -> None:
        photo = jpeg(seed)
        async with tree.client() as http:
            while not self._ended:
                outcome = await self._one(http, photo)
                self.seen[outcome] += 1
                if outcome in self._until:
                    return
                if outcome != "200":
                    await asyncio.sleep(0.05)  # as clients do

    async def _one(self, http: httpx.AsyncClient, photo: bytes) -> str:
        try:
            answer = await http.post(self._path, content=photo)
        except httpx.TransportError:
            return "broken"
        if answer.status_code != 200:
            self.refusals.append(answer)
        return str(answer.status_code)


async def metric(http: httpx.AsyncClient, name: str) -> float:
    """The sum of a metric's samples."""
    text = (await http.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def until_metric(http: httpx.AsyncClient, name: str, value: float) -> None:
    while await metric(http, name) != value:
        await asyncio.sleep(0.01)


async def until_ready(http: httpx.AsyncClient) -> None:
    while (await http.get("/readyz")).status_code != 200:
        await asyncio.sleep(0.01)
