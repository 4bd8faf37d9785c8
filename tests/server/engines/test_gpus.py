"""A server on GPUs, over fakes: what is taken first, what is built meanwhile, and what ends the process."""

import asyncio
import contextlib
import dataclasses
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
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
from export.graphs import to_16bit
from server.engines import batch_size, onnxruntime_cuda
from server.engines.choice import Choice, Chooser
from server.engines.engine import EngineLost
from server.engines.machine import Machine
from server.engines.measurements import MeasurementCache
from server.host.exit_codes import HUNG
from server.registry import plan_builds
from tests.conftest import REPOSITORY
from tests.support.faces import KnowsProbe, running
from tests.support.fake_cuda import Cuda
from tests.support.fake_tensorrt import HEADER, VERSION, Trt
from tests.support.fakes import with_gpus, with_graphs
from tests.support.pictures import jpeg
from tests.trt.test_store import sidecar
from trt.gpus import Gpu
from trt.sidecar import Target
from trt.store import Store

H200 = Gpu(0, "NVIDIA H200", "9.0", 132, "13.1")
B200 = Gpu(1, "NVIDIA B200", "10.0", 148, "13.1")


@pytest.fixture
def bundle(demo: Path) -> Bundle:
    return files.read(demo)


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime whose CUDA is its CPU."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    on_cpu = onnxruntime_cuda.OrtCudaEngine.__init__
    monkeypatch.setattr(
        onnxruntime_cuda.OrtCudaEngine, "__init__", lambda self, *told: on_cpu(self, *told, _device="cpu")
    )


def chooser(folder: Path, *gpus: Gpu, engine: str = "auto", precision: str = "auto") -> Chooser:
    machine = Machine(2, gpus, Store(folder), 4)
    return Chooser(machine, engine, precision, MeasurementCache(folder / "choices.json"))


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
    monkeypatch.setitem(sys.modules, "server.engines.tensorrt_gpu", None)
    put(tmp_path, bundle, H200)
    machine = Machine(2, [H200], Store(tmp_path), 4)
    assert {candidate.device for candidate in machine.candidates(bundle)} == {"cpu"}
    assert not machine.could_have_plans("auto", "onnxruntime-cpu")


@pytest.mark.parametrize(
    ("wished", "engine", "could"),
    [
        ("auto", "onnxruntime-cpu", True),
        ("onnxruntime-cuda", "onnxruntime-cuda", False),
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

    def __init__(self, folder: Path, *options: str, gpus: tuple[str, ...], hold: bool, cwd: Path, cache: str) -> None:
        command = [sys.executable, "-m", "server", "--fronts=0", "--http-port", "0", "--grpc-port", "0", *options]
        self._process = subprocess.Popen(
            [*command, "--cache-dir", cache or str(folder / "cache"), "--max-batch", "2"],
            cwd=cwd,
            env=with_gpus(folder / "site", *gpus, hold=hold) | {"PYTHONPATH": f"{folder / 'site'}:{REPOSITORY}"},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.log = ""
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.url = re.search(r"http=(\S+)", self.until("listening"))[1]  # type: ignore[index]

    def until(self, text: str) -> str:
        """The line of the log with that text, when it comes."""
        try:
            while text not in (line := self._lines.get(timeout=300)):
                self.log += line
        except queue.Empty:
            raise AssertionError(self.log) from None
        self.log += line
        return line

    def _read(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._lines.put(line)

    def asked(self, path: str, data: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", data, timeout=60) as response:
            return json.load(response)

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        self.until("stopped")
        return self._process.wait(60)


@contextlib.contextmanager
def served(
    folder: Path,
    *options: str,
    gpus: tuple[str, ...] = ("NVIDIA H200",),
    hold: bool = False,
    cwd: Path = REPOSITORY,
    cache: str = "",
) -> Iterator[Server]:
    server = Server(folder, *options, gpus=gpus, hold=hold, cwd=cwd, cache=cache)
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


def test_the_server_builds_one_precision_after_the_other_with_little_workspace(bundle: Bundle, tmp_path: Path) -> None:
    """Another engine serves on the same GPU meanwhile."""
    plain = bundle.graph("fp32")[1].read_bytes()
    lower = {precision: to_16bit.to_16_bit(plain, precision) for precision in ("fp16", "bf16")}
    made = files.read(with_graphs(tmp_path, bundle, lower))

    def wanted(precision: str, *gpus: Gpu) -> list[list[tuple[str, str]]]:
        told = plan_builds.commands(gpus, 8, precision, tmp_path)(made)
        assert {command[command.index("--workspace-mib") + 1] for group in told for command in group} == {"1024"}
        return [[(command[command.index("--precision") + 1], command[-1]) for command in group] for group in told]

    older = dataclasses.replace(B200, compute_capability="7.5")
    assert wanted("auto", H200, B200) == [[("fp16", "0"), ("fp16", "1")], [("bf16", "0"), ("bf16", "1")]]
    assert wanted("auto", H200, older) == [[("fp16", "0"), ("fp16", "1")]]
    assert wanted("fp32", H200) == [[("fp32", "0")]]


def test_a_build_that_fails_leaves_what_serves_and_is_tried_once(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "plans").write_text("a file in the folder's place")
    with served(tmp_path) as server:
        server.until("not all plans of demo/1 were built (exit code 1)")
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
    from server.startup import compose_models

    def touched() -> list[Gpu]:
        raise AssertionError("CUDA was asked")

    assert [found.name for found in compose_models.usable_gpus("auto")] == ["NVIDIA H200"]
    monkeypatch.setattr(compose_models, "gpus", touched)
    assert compose_models.usable_gpus("openvino-cpu") == []


def test_part_of_the_plans_is_taken_though_another_precision_was_refused(tmp_path: Path, demo: Path) -> None:
    """A graph that TensorRT is given for bf16 and that ONNX Runtime, which plays its part, does not run."""
    bundle = files.read(demo)
    made = {
        precision: to_16bit.to_16_bit(bundle.graph("fp32")[1].read_bytes(), precision) for precision in ("fp16", "bf16")
    }
    written = with_graphs(tmp_path / "bundles", bundle, made)
    with served(tmp_path, "--model-repository", str(written.parents[1])) as server:
        server.until("model ready name=demo version=1 engine=tensorrt")
        server.until("not all plans of demo/1 were built (exit code 1)")
        (model,) = server.asked("/models/demo")["models"]
        assert (model["engine"]["name"], model["engine"]["precision"]) == ("tensorrt", "fp16")
        assert server.stop() == 0


def child_of(pid: int) -> int:
    """The process that it started."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_build_ends_with_the_server_however_that_ends(tmp_path: Path, number: int) -> None:
    with served(tmp_path, hold=True) as server:
        server.until("building, this takes minutes")
        child = child_of(server.pid)
        os.kill(server.pid, number)
        for _ in range(200):
            if not Path(f"/proc/{child}").exists():
                break
            time.sleep(0.1)
        assert not Path(f"/proc/{child}").exists()


def test_bundles_and_cache_are_found_from_any_folder(tmp_path: Path, demo: Path) -> None:
    shutil.copytree(demo, tmp_path / "mine" / "demo" / "1")
    with served(tmp_path, "--model-repository", "mine", cwd=tmp_path, cache="cache") as server:
        server.until("model ready name=demo version=1 engine=tensorrt")
        assert server.stop() == 0
    assert len(list((tmp_path / "cache" / "plans").glob("*.plan"))) == 1


def test_one_gpu_that_answers_wrongly_leaves_the_next_kind_for_all(
    gpu: Cuda,
    trt: Trt,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gpu.names = ["NVIDIA H200", "NVIDIA B200"]
    for one in (H200, B200):
        put(tmp_path, bundle, one)
    assert chooser(tmp_path, H200, B200)(bundle).engine.name == "tensorrt"
    from server.engines import tensorrt_gpu as trt_engine

    real = trt_engine.engine

    def wrong_on_the_second(plan: Any, index: int, precision: str) -> Any:
        made = real(plan, index, precision)
        run = made.run
        if index == 1:
            monkeypatch.setattr(made, "run", lambda pixels: run(pixels)[::-1])
        return made

    monkeypatch.setattr(trt_engine, "engine", wrong_on_the_second)
    choice = chooser(tmp_path, H200, B200)(bundle)
    assert choice.device == "cpu"
    assert "does not run demo any more: tensorrt in fp32 does not answer the bundle's probe" in caplog.text
    assert choice.why.endswith(
        "this ONNX Runtime is the one for CPUs: " + onnxruntime_cuda.why_not().partition(": ")[2]
    )


def test_what_failed_once_is_tried_at_the_next_start_and_what_worked_is_not_measured_again(
    trt: Trt, with_cuda: None, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = files.read(
        with_graphs(tmp_path / "b", bundle, {"fp16": to_16bit.to_16_bit(bundle.graph("fp32")[1].read_bytes(), "fp16")})
    )
    real, tried = onnxruntime_cuda.OrtCudaEngine.__init__, []

    def counted(self: Any, graph: Path, gpu: int, precision: str, max_batch: int) -> None:
        tried.append(precision)
        if precision == "fp16" and len(tried) == 2:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        real(self, graph, gpu, precision, max_batch)

    monkeypatch.setattr(onnxruntime_cuda.OrtCudaEngine, "__init__", counted)
    monkeypatch.setattr(batch_size, "measure", lambda engine, *_: {1: {"fp32": 0.1, "fp16": 0.2}[engine.precision]})
    choose = chooser(tmp_path, H200, engine="onnxruntime-cuda")
    assert choose(both).why.endswith("onnxruntime-cuda fp32 10, onnxruntime-cuda fp16 0")
    assert tried == ["fp32", "fp16", "fp32"]
    tried.clear()
    assert choose(both).why.endswith("onnxruntime-cuda fp32 10, onnxruntime-cuda fp16 5")
    assert tried == ["fp16", "fp32"]


def test_cuda_too_is_made_anew_after_a_failure_or_lost(
    trt: Trt, with_cuda: None, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = chooser(tmp_path, H200, engine="onnxruntime-cuda")(bundle).engine
    expected = engine.run(bundle.probe.pixels[:2])

    def broken(self: Any, pixels: np.ndarray) -> Any:
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime_cuda.OrtCudaEngine, "start", broken)
        with pytest.raises(RuntimeError, match="ILLEGAL"):
            engine.run(bundle.probe.pixels[:2])
    assert np.array_equal(engine.run(bundle.probe.pixels[:2]), expected)
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime_cuda.OrtCudaEngine, "start", broken)
        with pytest.raises(RuntimeError, match="ILLEGAL"):
            engine.run(bundle.probe.pixels[:2])
        patch.setattr(onnxruntime_cuda.OrtCudaEngine, "__init__", broken)
        with pytest.raises(EngineLost, match="cannot be started again"):
            engine.run(bundle.probe.pixels[:2])


@pytest.mark.anyio
async def test_an_engine_that_hangs_while_it_begins_is_found(demo: Path) -> None:
    go = threading.Event()

    class Begins(KnowsProbe):
        hangs = False

        def start(self, pixels: np.ndarray) -> Any:
            if self.hangs:
                go.wait(60)
            return lambda: self.run(pixels)

    made: list[Begins] = []

    def choose(bundle: Bundle) -> Choice:
        made.append(Begins(bundle))
        return Choice(made[0], "a test's", (), "gpu")

    async with running(demo.parents[1], choose, gpus=1, engine_limit_s=1) as server:
        made[0].hangs = True
        assert (await server.rest.classify(jpeg(1))).code == "engine_failed"
        assert await asyncio.wait_for(server.task, 30) == HUNG
        go.set()
