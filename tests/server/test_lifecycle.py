"""The life of the server: it listens first, loads bundles meanwhile, handles signals, drains and exits with a code."""

import asyncio
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from bundle import files
from server.engines.choice import Choice
from server.host.exit_codes import LOAD_FAILED, STOPPED
from server.lifecycle import Lifecycle, Phase
from server.startup.app import handle_signals
from tests.support.faces import choose, held, running
from tests.support.pictures import jpeg

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("face", ["rest", "rpc"])


@pytest.fixture
def broken(demo: Path, tmp_path: Path) -> Path:
    """A whole bundle `demo` and a damaged one `spoilt`."""
    shutil.copytree(demo, tmp_path / "demo" / "1")
    shutil.copytree(demo, tmp_path / "spoilt" / "1")
    (tmp_path / "spoilt" / "1" / "labels.tsv").write_text("other\n")
    return tmp_path


@both
async def test_while_bundles_load_the_server_lives_and_is_not_ready(face: str, demo: Path) -> None:
    may_load = threading.Event()

    def choose_later(bundle: files.Bundle) -> Choice:
        may_load.wait(20)
        return choose(bundle)

    async with running(demo.parents[1], choose_later, wait=False) as server:
        client = server.client(face)
        assert (await server.rest.http.get("/livez")).status_code == 200
        assert not await client.ready()
        waiting = (await server.rest.http.get("/readyz")).json()
        assert waiting["models"] == [{"model": "demo", "version": "1", "state": "LOADING", "reason": ""}]
        assert (await client.models()) == [("demo", "1", "LOADING")]
        assert (await client.classify(jpeg())).code == "not_ready"
        assert (await server.rest.http.post("/classify", content=jpeg())).headers["retry-after"] == "1"
        may_load.set()
        await server.until_ready()
        assert await client.ready()
        assert not (await client.classify(jpeg())).code


async def test_a_server_asked_to_leave_before_it_was_ready_leaves(demo: Path) -> None:
    may_load = threading.Event()

    def choose_later(bundle: files.Bundle) -> Choice:
        may_load.wait(20)
        return choose(bundle)

    async with running(demo.parents[1], choose_later, wait=False) as server:
        server.app.leave()
        assert await server.task == STOPPED
    may_load.set()


async def test_a_bundle_that_fails_at_the_start_ends_the_process(broken: Path) -> None:
    async with running(broken, wait=False) as server:
        assert await server.task == LOAD_FAILED


@both
async def test_with_keep_going_the_others_are_served(face: str, broken: Path) -> None:
    async with running(broken, keep_going=True) as server:
        client = server.client(face)
        assert await client.models() == [("demo", "1", "READY"), ("spoilt", "1", "FAILED")]
        assert not (await client.classify(jpeg(), model="demo")).code
        failed = await client.classify(jpeg(), model="spoilt")
        assert (failed.code, failed.detail) == ("not_ready", "The model 'spoilt' failed to load: see /models.")
        reason = (await server.rest.http.get("/models/spoilt")).json()["models"][0]["reason"]
        assert reason.startswith("labels.tsv of the bundle 'spoilt/1' is not the file its manifest names")


async def test_a_graph_that_no_engine_takes_is_that_models_failure_alone(demo: Path) -> None:
    def choose_nothing(bundle: files.Bundle) -> Choice:
        raise RuntimeError("/secret/model.onnx is not for me")

    async with running(demo.parents[1], choose_nothing, wait=False) as server:
        assert await server.task == LOAD_FAILED
    async with running(demo.parents[1], choose_nothing, wait=False, keep_going=True) as server:
        while (model := (await server.rest.http.get("/models")).json()["models"][0])["state"] != "FAILED":
            await asyncio.sleep(0.01)
        assert model["reason"] == "no engine could be made of it: see the log"
        assert not await server.rest.ready()  # as no model answers
        assert (await server.rest.http.get("/readyz")).json()["phase"] == "serving"


@both
async def test_accepted_work_is_answered_while_the_server_drains(face: str, demo: Path) -> None:
    async with held(demo) as (server, engine):
        accepted = [asyncio.create_task(server.client(face).classify(jpeg())) for _ in range(3)]
        await server.until("sesame_permits_taken", 3)
        server.app.leave()
        while await can_connect(server.http_port) or await can_connect(server.grpc_port):
            await asyncio.sleep(0.01)
        engine.gate.release(100)
        assert [outcome.code for outcome in await asyncio.gather(*accepted)] == ["", "", ""]
        assert await server.task == STOPPED


@both
async def test_during_the_drain_delay_new_work_is_taken_though_not_ready(face: str, demo: Path) -> None:
    async with running(demo.parents[1], drain_delay_s=1) as server:
        server.app.leave()
        while await server.client(face).ready():
            await asyncio.sleep(0)
        assert (await server.rest.http.get("/readyz")).json()["phase"] == "leaving"
        assert not (await server.client(face).classify(jpeg())).code
        assert await server.task == STOPPED


def test_phases_may_be_skipped_and_never_go_back() -> None:
    lifecycle = Lifecycle()
    lifecycle.advance(Phase.LEAVING)
    assert (lifecycle.ready, lifecycle.accepting) == (False, True)
    with pytest.raises(AssertionError, match="this is a bug"):
        lifecycle.advance(Phase.SERVING)
    assert lifecycle.phase is Phase.LEAVING
    lifecycle.break_down()
    assert (lifecycle.broken, lifecycle.accepting) == (True, False)


async def can_connect(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def heed_signals() -> None:
    """In the new process: as in a terminal, whatever this one was told to ignore (nohup, a shell's background)."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Process:
    """`python -m server` on free ports."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "server", "--fronts=0", "--http-port=0", "--grpc-port=0", *options]
        self.popen = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_signals)
        self.log: list[str] = []
        self.url = ""

    def until(self, text: str) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.log.append(line)
            if found := re.search(r"http=(http://\S+)", line):
                self.url = found[1]
            if text in line:
                return
        raise AssertionError(f"never said {text!r}: {self.log}")

    def exit_code(self) -> int:
        _, rest = self.popen.communicate(timeout=30)
        self.log += rest.splitlines()
        return self.popen.returncode


@pytest.fixture
def started(demo: Path) -> Iterator[Process]:
    process = Process(f"--model-repository={demo.parents[1]}", "--drain-delay-s=3")
    process.until("app ready")
    yield process
    process.popen.kill()
    process.popen.communicate()


@asynccontextmanager
async def client(process: Process) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=process.url, timeout=30) as http:
        yield http


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_delivered_twice_at_once_still_leaves_in_order(number: signal.Signals, started: Process) -> None:
    started.popen.send_signal(number)
    started.popen.send_signal(number)
    started.until("leaving")
    async with client(started) as http:
        assert (await http.post("/classify", content=jpeg())).status_code == 200
        assert (await http.get("/readyz")).status_code == 503
    assert started.exit_code() == 0
    assert "Traceback" not in "".join(started.log)


async def test_a_second_signal_later_leaves_at_once(started: Process) -> None:
    began_s = time.monotonic()
    started.popen.terminate()
    started.until("leaving")
    while time.monotonic() - began_s < 1.2:
        async with client(started) as http:
            await http.get("/livez")
    started.popen.terminate()
    assert started.exit_code() == 128 + signal.SIGTERM
    assert any("second signal" in line for line in started.log)


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.slow)])
async def test_under_load_a_signal_loses_nothing_that_was_accepted(times: int, demo: Path) -> None:
    """The images that the server admitted are the answers that clients got; others got 503, or no connection."""
    for _ in range(times):
        process = Process(f"--model-repository={demo.parents[1]}")
        process.until("app ready")
        statuses: Counter[str] = Counter()
        async with client(process) as http:
            asking = [asyncio.create_task(ask_until_refused(http, seed, statuses)) for seed in range(32)]
            while statuses["200"] < 64:
                await asyncio.sleep(0.01)
            process.popen.terminate()
            await asyncio.gather(*asking)
        assert process.exit_code() == 0
        (line,) = (line for line in process.log if "app stopped" in line)
        totals = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}
        assert totals == {"admitted": statuses["200"], "ok": statuses["200"]}
        assert statuses.keys() <= {"200", "503", "never accepted"}


async def ask_until_refused(http: httpx.AsyncClient, seed: int, statuses: "Counter[str]") -> None:
    while True:
        try:
            answer = await http.post("/classify", content=jpeg(seed))
        except httpx.TransportError:
            statuses["never accepted"] += 1
            return
        statuses[str(answer.status_code)] += 1
        if answer.status_code == 503:
            return


@pytest.mark.parametrize("option", ["--http-port", "--grpc-port"])
def test_a_taken_port_is_reported_with_its_cure(option: str, demo: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = Process(f"--model-repository={demo.parents[1]}", f"{option}={taken.getsockname()[1]}")
        assert process.exit_code() == 2
    assert "cannot listen on 127.0.0.1" in "".join(process.log)
    assert "choose another port" in "".join(process.log)


def test_an_address_that_is_not_known_is_reported_with_its_cure(demo: Path) -> None:
    process = Process(f"--model-repository={demo.parents[1]}", "--host=nowhere.invalid")
    assert process.exit_code() == 2
    assert "choose another --host" in "".join(process.log)
    assert "Traceback" not in "".join(process.log)


@pytest.mark.parametrize("host", ["::", "localhost"])
def test_every_address_of_the_host_is_listened_on_over_both_faces(host: str, demo: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("needs IPv6 and IPv4")
    process = Process(f"--model-repository={demo.parents[1]}", f"--host={host}")
    try:
        process.until("listening")
        written = f"[{host}]" if ":" in host else host
        ports = re.search(
            rf"http=http://{re.escape(written)}:(\d+) grpc={re.escape(written)}:(\d+)$", process.log[-1].strip()
        )
        assert ports
        for port in ports.groups():
            for address in ("127.0.0.1", "::1") if host == "::" else ("localhost",):
                socket.create_connection((address, int(port)), 20).close()
        process.popen.terminate()
        assert process.exit_code() == 0
    finally:
        process.popen.kill()


async def test_a_hang_up_that_nohup_ignores_stays_ignored(demo: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    loop = asyncio.get_running_loop()
    try:
        async with running(demo.parents[1]) as server:
            handle_signals(server.app, lambda code: None)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGHUP, before)


def test_broken_aliases_are_reported_with_their_cure(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo, tmp_path / "demo" / "1")
    (tmp_path / "aliases.json").write_bytes(b"\xff")
    process = Process(f"--model-repository={tmp_path}")
    assert process.exit_code() == LOAD_FAILED
    assert "aliases.json cannot be understood" in "".join(process.log)
    assert "Traceback" not in "".join(process.log)


def test_a_folder_without_bundles_is_reported_with_its_cure(tmp_path: Path) -> None:
    process = Process(f"--model-repository={tmp_path}")
    assert process.exit_code() == LOAD_FAILED
    assert "holds no bundle: make one with 'python -m export convert'" in "".join(process.log)


def test_a_wrong_setting_is_reported_before_anything_starts() -> None:
    process = Process("--max-batch=0")
    assert process.exit_code() == 2
    assert process.log == ["server: max_batch must be at least 1, not 0."]


def test_a_damaged_bundle_ends_the_process_with_its_reason(broken: Path) -> None:
    process = Process(f"--model-repository={broken}")
    assert process.exit_code() == LOAD_FAILED
    assert "labels.tsv of the bundle 'spoilt/1'" in "".join(process.log)
