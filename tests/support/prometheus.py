"""Prometheus: Debian's programs, and a running one that scrapes servers of tests."""

import re
import shutil
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import REPOSITORY
from tests.support import fast

FILES = REPOSITORY / "deploy" / "prometheus"

_PATIENT_S = 120.0
_LOOK_S = 0.5
_LISTENING = re.compile(r'Listening on".*? address=127\.0\.0\.1:(\d+)')


def program(name: str) -> str:
    """The path of `promtool` or `prometheus`. Skips the test where it is not installed."""
    fast.leave("starts Prometheus")
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}: apt-get install prometheus")
    return path


def promtool(*arguments: str, given: str = "", folder: Path = FILES) -> tuple[int, str]:
    """Run it; returns its exit code and all it printed."""
    done = subprocess.run(
        [program("promtool"), *arguments],
        cwd=folder,
        input=given,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_PATIENT_S,
    )
    return done.returncode, done.stdout


@dataclass(frozen=True)
class Prometheus:
    """A running one, at this address."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query. Raises AssertionError where Prometheus cannot read it."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=_PATIENT_S).json()
        assert answer["status"] == "success", (expression, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def unanswered(self, expressions: Collection[str], limit_s: float = _PATIENT_S) -> set[str]:
        """Those of which no sample came within this time."""
        left, end_s = set(expressions), time.monotonic() + limit_s
        while left and time.monotonic() < end_s:
            left = {expression for expression in left if not self.query(expression)}
            if left:
                time.sleep(_LOOK_S)
        return left


@contextmanager
def scraping(server_port: int, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus with the configuration of deploy/, which scrapes this port every second."""
    config = (FILES / "prometheus.yml").read_text()
    for ours, theirs in (("sesame:8000", f"127.0.0.1:{server_port}"), ("15s", "1s"), ("10s", "1s")):
        assert ours in config
        config = config.replace(ours, theirs)
    (folder / "prometheus.yml").write_text(config)
    shutil.copytree(FILES / "rules", folder / "rules")
    command = [program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, "--web.listen-address=127.0.0.1:0"], cwd=folder, stderr=log)
        try:
            yield Prometheus(f"http://127.0.0.1:{_port(folder / 'prometheus.log', process)}")
        finally:
            process.terminate()
            process.wait()


def _port(log: Path, process: "subprocess.Popen[bytes]") -> int:
    end_s = time.monotonic() + _PATIENT_S
    while process.poll() is None and time.monotonic() < end_s:
        if listening := _LISTENING.search(log.read_text()):
            return int(listening[1])
        time.sleep(0.05)
    raise AssertionError(f"Prometheus does not listen:\n{log.read_text()}")
