"""A server on GPUs, over fakes: what is taken first, what is built meanwhile, and what ends the process."""

import asyncio
import contextlib
import dataclasses
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bundle import files
from bundle.errors import BundleError
from bundle.files import Bundle
from plans.gpus import Gpu
from plans.store import Store, Target
from server.app import HUNG
from server.engines import EngineLost, on_gpu, ortcuda
from server.engines.choice import Choice, Chooser, Machine
from server.engines.remembered import Remembered
from tests.conftest import REPOSITORY
from tests.fake_cuda import Cuda
from tests.fake_tensorrt import HEADER, VERSION, Trt
from tests.fakes import with_gpus
from tests.pictures import jpeg
from tests.plans.test_store import sidecar
from tests.server.faces import KnowsProbe, running

H200 = Gpu(0, "NVIDIA H200", "9.0", 132, "13.1")
B200 = Gpu(1, "NVIDIA B200", "10.0", 148, "13.1")


@pytest.fixture
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime whose CUDA is its CPU."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    on_cpu = ortcuda.OrtCudaEngine.__init__
    monkeypatch.setattr(ortcuda.OrtCudaEngine, "__init__", lambda self, *told: on_cpu(self, *told, _device="cpu"))


def chooser(folder: Path, *gpus: Gpu, engine: str = "auto", precision: str = "auto") -> Chooser:
    machine = Machine(2, gpus, Store(folder), 4)
    return Chooser(machine, engine, precision, Remembered(folder / "choices.json"))


def put(folder: Path, bundle: Bundle, gpu: Gpu, name: str = "") -> Path:
    """A plan of the demo for that GPU."""
    told = b"[1, 4]"
    graph, path = bundle.graph("fp32")
    data = HEADER + len(told).to_bytes(4, "little") + told + path.read_bytes()
    created = f"2026-01-01 {gpu.name} {name}"
    known = sidecar(created, data, graph_sha256=graph.sha256, precision="fp32", target=Target.of(gpu, VERSION))
    return Store(folder).put(data, known).path


def test_a_plan_comes_before_cuda_and_that_before_the_cpu(
    trt: Trt, with_cuda: None, bundle: Bundle, tmp_path: Path
) -> None:
    choose = chooser(tmp_path, H200)
    assert (choose(bundle).engine.name, choose(bundle).device) == ("onnxruntime-cuda", "gpu")
    put(tmp_path, bundle, H200)
    choice = choose(bundle)
    assert (choice.engine.name, choice.device, choice.others) == ("tensorrt", "gpu", ())
    assert choice.why.startswith("the fastest here, in images/s: tensorrt fp32 ")
    assert chooser(tmp_path, H200, engine="onnxruntime-cuda")(bundle).engine.name == "onnxruntime-cuda"
    assert chooser(tmp_path, H200, engine="onnxruntime-cpu")(bundle).engine.name == "onnxruntime-cpu"
    assert chooser(tmp_path)(bundle).device == "cpu"


def test_several_gpus_have_an_engine_each_and_every_kind_needs_its_plan(
    gpu: Cuda, trt: Trt, bundle: Bundle, tmp_path: Path
) -> None:
    gpu.names = ["NVIDIA H200", "NVIDIA B200"]
    put(tmp_path, bundle, H200)
    twins = (H200, dataclasses.replace(H200, index=1))
    choice = chooser(tmp_path, *twins)(bundle)
    assert [engine.name for engine in choice.engines] == ["tensorrt", "tensorrt"]
    assert chooser(tmp_path, H200, B200)(bundle).device == "cpu"  # the other has none
    put(tmp_path, bundle, B200)
    choice = chooser(tmp_path, H200, B200)(bundle)
    assert [engine.name for engine in choice.engines] == ["tensorrt", "tensorrt"]


@pytest.mark.parametrize("call", ["deserialize", "context", "run"])
def test_a_plan_that_does_not_work_leaves_the_next_kind(
    trt: Trt, with_cuda: None, bundle: Bundle, tmp_path: Path, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, bundle, H200)
    trt.refuse = {call}
    assert chooser(tmp_path, H200)(bundle).engine.name == "onnxruntime-cuda"
    assert re.search("tensorrt fp32 does not run demo: TensorRT .*(does not take|refused)", caplog.text)
    trt.refuse = set()
    assert chooser(tmp_path, H200)(bundle).engine.name == "tensorrt"  # a failure is not remembered


def test_a_plan_that_worked_once_and_is_damaged_since_is_passed_over(
    trt: Trt, bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = put(tmp_path, bundle, H200)
    assert chooser(tmp_path, H200)(bundle).engine.name == "tensorrt"
    path.write_bytes(b"rubbish")
    assert chooser(tmp_path, H200)(bundle).device == "cpu"
    assert "sha256 differs" in caplog.text


def test_whoever_insists_on_tensorrt_is_told_how_plans_are_built(trt: Trt, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"engine=tensorrt.*a plan for each GPU: run `python -m export build-engine`"):
        chooser(tmp_path, H200, engine="tensorrt")(bundle)


def test_without_tensorrt_there_are_no_plans(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_gpu, "_runner", lambda: None)
    put(tmp_path, bundle, H200)
    machine = Machine(2, [H200], Store(tmp_path), 4)
    assert {candidate.device for candidate in machine.candidates(bundle)} == {"cpu"}
    assert not machine.could_have_plans("auto", "onnxruntime-cpu")


@pytest.mark.parametrize(
    ("wished", "engine", "could"),
    [
        ("auto", "onnxruntime-cpu", True),
        ("tensorrt", "onnxruntime-cuda", True),
        ("auto", "tensorrt", False),
        ("openvino-cpu", "openvino-cpu", False),
    ],
)
def test_plans_are_wanted_where_tensorrt_would_take_over(
    trt: Trt, tmp_path: Path, wished: str, engine: str, could: bool
) -> None:
    assert Machine(2, [H200], Store(tmp_path), 4).could_have_plans(wished, engine) is could
    assert not Machine(2, [], Store(tmp_path), 4).could_have_plans(wished, engine)


class Server:
    """`python -m server` in a process of its own, on fake GPUs."""

    def __init__(self, folder: Path, *options: str, gpus: tuple[str, ...] = ("NVIDIA H200",)) -> None:
        command = [sys.executable, "-m", "server", "--http-port", "0", "--grpc-port", "0", *options]
        self._process = subprocess.Popen(
            [*command, "--cache-dir", str(folder / "cache"), "--max-batch", "2"],
            cwd=REPOSITORY,
            env=with_gpus(folder / "site", *gpus),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = ""
        self.url = re.search(r"http=(\S+)", self.until("listening"))[1]  # type: ignore[index]

    def until(self, text: str) -> str:
        """The line of the log with that text, when it comes."""
        assert self._process.stderr
        for line in self._process.stderr:
            self.log += line
            if text in line:
                return line
        raise AssertionError(self.log)

    def asked(self, path: str, data: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", data, timeout=60) as response:
            return json.load(response)

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.stderr
        self.log += self._process.stderr.read()
        return self._process.wait(60)


@contextlib.contextmanager
def served(folder: Path, *options: str, gpus: tuple[str, ...] = ("NVIDIA H200",)) -> Iterator[Server]:
    server = Server(folder, *options, gpus=gpus)
    try:
        yield server
    finally:
        server._process.kill()
        server._process.wait()
        server._process.stderr.close()  # type: ignore[union-attr]


def test_plans_are_built_while_another_engine_serves_and_then_taken(tmp_path: Path) -> None:
    with served(tmp_path, gpus=("NVIDIA H200", "NVIDIA B200")) as server:
        server.until("building TensorRT plans of demo/1")
        first = server.asked("/classify", jpeg(3))
        assert "cpu" in server.asked("/models/demo")["models"][0]["engine"]["name"]
        server.until("model ready name=demo version=1 engine=tensorrt")
        (model,) = server.asked("/models/demo")["models"]
        assert (model["engine"]["name"], model["engine"]["copies"]) == ("tensorrt", 2)
        second = server.asked("/classify", jpeg(3))
        pairs = zip(first["predictions"], second["predictions"], strict=True)
        assert all(a["id"] == b["id"] and abs(a["probability"] - b["probability"]) < 1e-3 for a, b in pairs)
        assert server.stop() == 0
    assert len(list((tmp_path / "cache" / "plans").glob("*.plan"))) == 2
    assert "demo/1: [1] " in server.log
    with served(tmp_path, gpus=("NVIDIA H200", "NVIDIA B200")) as again:  # the next start takes them at once
        again.until("model ready name=demo version=1 engine=tensorrt")
        assert again.stop() == 0
    assert "building" not in again.log


def test_a_build_that_fails_leaves_what_serves_and_is_tried_once(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "plans").write_text("a file in the folder's place")
    with served(tmp_path) as server:
        server.until("no plan of demo/1 was built (exit code 1)")
        assert server.asked("/classify", jpeg(3))["predictions"]
        assert server.stop() == 0
    assert server.log.count("building TensorRT plans") == 1
    assert "cannot be written" in server.log


def test_by_setting_nothing_is_built(tmp_path: Path) -> None:
    with served(tmp_path, "--no-build-plans") as server:
        server.until(" ready")
        assert server.asked("/classify", jpeg(3))["predictions"]
        assert server.stop() == 0
    assert "building" not in server.log


@pytest.mark.anyio
async def test_a_lost_gpu_ends_the_process_so_that_it_is_started_again(demo: Path) -> None:
    class Lost(KnowsProbe):
        lost = False

        def run(self, pixels: np.ndarray) -> np.ndarray:
            if self.lost:
                raise EngineLost("TensorRT cannot be started again after a failure")
            return super().run(pixels)

    made: list[Lost] = []

    def choose(bundle: Bundle) -> Choice:
        made.append(Lost(bundle))
        return Choice(made[0], "a test's", (), "gpu")

    async with running(demo.parents[1], choose, gpus=1) as server:
        assert not (await server.rest.classify(jpeg(0))).code
        made[0].lost = True
        assert (await server.rest.classify(jpeg(1))).code == "engine_failed"
        assert await asyncio.wait_for(server.task, 30) == HUNG


def test_an_operator_who_wants_the_cpu_leaves_cuda_alone(gpu: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    from server import app

    def touched() -> list[Gpu]:
        raise AssertionError("CUDA was asked")

    assert [found.name for found in app._gpus("auto")] == ["NVIDIA H200"]
    monkeypatch.setattr(app, "gpus", touched)
    assert app._gpus("openvino-cpu") == []
