"""`build-engine` with a fake TensorRT whose engines run in ONNX Runtime: the store, the ways, and every error."""

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest

from bundle import files
from export import __main__ as main
from export.errors import ExportError
from export.tensorrt import command
from tests.conftest import REPOSITORY
from tests.support.fake_cuda import Cuda
from tests.support.fake_tensorrt import VERSION, Trt
from trt import graphs
from trt.gpus import Gpu
from trt.sidecar import Target
from trt.store import Store

Build = Callable[..., int]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Stands in for the module of plugins, which needs the real bindings."""
    import export.tensorrt

    fake = ModuleType("export.tensorrt.plugins")
    fake.registered = []  # type: ignore[attr-defined]
    fake.source = "kernels, first edition"  # type: ignore[attr-defined]
    fake.register = fake.registered.append  # type: ignore[attr-defined]
    fake.fingerprint = lambda: fake.source  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "export.tensorrt.plugins", fake)
    monkeypatch.setattr(export.tensorrt, "plugins", fake, raising=False)
    return fake


@pytest.fixture
def build(trt: Trt, kernels: ModuleType, demo: Path, tmp_path: Path) -> Build:
    def run(*more: str) -> int:
        return command.run([str(demo), "--cache-dir", str(tmp_path), "--max-batch", "4", *more])

    return run


def kept(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "plans").glob("*.json"))]


def test_a_plan_is_built_in_every_way_and_the_fastest_is_kept_with_the_figures(
    build: Build, trt: Trt, kernels: Any, tmp_path: Path, demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    (known,) = kept(tmp_path)
    assert {key: value for key, value in told.items() if key != "plan"} == known
    assert Path(told["plan"]).is_file()
    plain, pooled, outlined = trt.built
    assert trt.built_on == [0, 0, 0]
    assert not plain.functions
    kinds = [[node.op_type for node in model.graph.node] for model in (plain, pooled)]
    assert [(kind.count("AveragePool"), kind.count("ReduceMean")) for kind in kinds] == [(0, 9), (8, 1)]
    assert {function.name for function in outlined.functions} == {"SEGate", "SEScaleAddRelu"}
    assert kernels.registered == [(9, 0)]
    assert known["batch_sizes"] == [1, 2, 4]
    assert {way: list(sizes) for way, sizes in known["seconds"].items()} == {
        "native": ["1", "2", "4"],
        "pooled": ["1", "2", "4"],
        "plugin": ["1", "2", "4"],
    }
    product = {way: sizes["1"] * sizes["2"] * sizes["4"] for way, sizes in known["seconds"].items()}
    assert known["se"] == min(product, key=lambda way: product[way])
    assert known["parity"]["max_dp"] < 1e-4
    assert known["layers"]["reformats"] == 1
    assert any("layer1.0/se/" in name for name in known["layers"]["se"])
    assert trt.workspace == 4 << 30


def test_the_server_finds_the_plan_by_graph_and_target(build: Build, gpu: Cuda, tmp_path: Path, demo: Path) -> None:
    from trt.gpus import gpus

    assert build("--se", "native") == 0
    graph, _ = files.read(demo).graph("fp32")
    (plan,) = Store(tmp_path).plans_for(graph.sha256, Target.of(gpus()[0], VERSION))
    assert plan.sidecar.se == "native"
    assert plan.read()


def test_what_is_there_already_is_not_built_again(build: Build, trt: Trt, tmp_path: Path) -> None:
    assert build("--se", "native") == 0
    assert build("--se", "native") == 0
    assert len(trt.built) == 1
    assert build("--se", "native", "--rebuild") == 0
    assert len(trt.built) == 2
    assert len(kept(tmp_path)) == 1


def test_a_plan_that_was_damaged_is_built_again(build: Build, trt: Trt, tmp_path: Path) -> None:
    assert build("--se", "native") == 0
    (path,) = (tmp_path / "plans").glob("*.plan")
    path.write_bytes(b"rubbish")
    assert build("--se", "native") == 0
    assert len(trt.built) == 2
    assert path.read_bytes() != b"rubbish"


NATIVE = ["--se", "native"]
"""One way is enough where the ways themselves do not matter."""


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (NATIVE, lambda gpu, trt, kernels: gpu.names.__setitem__(0, "NVIDIA B200")),
        (NATIVE, lambda gpu, trt, kernels: setattr(gpu, "driver", (13, 2))),
        ([], lambda gpu, trt, kernels: setattr(kernels, "source", "second edition")),
        (NATIVE, lambda gpu, trt, kernels: ["--max-batch", "8"]),
        (NATIVE, lambda gpu, trt, kernels: ["--workspace-mib", "100"]),
        ([], lambda gpu, trt, kernels: ["--se", "native"]),
    ],
    ids=["gpu", "driver", "kernels", "sizes", "workspace", "ways"],
)
def test_whatever_a_plan_depends_on_makes_another_plan(
    build: Build,
    gpu: Cuda,
    trt: Trt,
    kernels: ModuleType,
    tmp_path: Path,
    options: list[str],
    change: Callable[..., Any],
) -> None:
    assert build(*options) == 0
    more = change(gpu, trt, kernels)
    changed = [*options, *more] if isinstance(more, list) else options
    assert build(*changed) == 0
    assert len(kept(tmp_path)) == 2
    assert build(*changed) == 0
    assert len(kept(tmp_path)) == 2


def test_timings_are_handed_from_build_to_build(build: Build, trt: Trt) -> None:
    assert build("--se", "native") == 0
    assert build("--se", "native", "--rebuild") == 0
    assert trt.timings == [b"", b"timed;"]


@pytest.mark.parametrize("call", ["cache", "cache mismatch"])
def test_timings_that_tensorrt_does_not_take_are_dropped(build: Build, trt: Trt, call: str) -> None:
    assert build("--se", "native") == 0
    trt.refuse = {call}
    assert build("--se", "native", "--rebuild") == 0
    assert trt.timings == [b"", b"timed;", b""]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("parse", r"Gelu 'layer1\.0/Gelu' in SEGate: no importer for it \(UNSUPPORTED_NODE\).*--se native"),
        ("profile", "rejected batches of 1.*--max-batch"),
        ("build", "built no plan: build was refused.*--max-batch"),
        ("build for want of workspace", "built no plan: .*workspace.*--workspace-mib"),
        ("deserialize", "cannot load the plan, which was built by 11.4.0.106: deserialize was refused"),
        ("context", "rejected the execution context"),
        ("shape", "rejected the shape"),
        ("infer", "does not know the shapes of pixels"),
        ("run", "rejected the run"),
        ("types", "inputs and outputs are"),
    ],
)
def test_every_refusal_is_told_and_nothing_is_kept(
    build: Build, trt: Trt, tmp_path: Path, capsys: pytest.CaptureFixture[str], call: str, told: str
) -> None:
    import re

    trt.refuse = {call}
    assert build("--se", "native") == 1
    assert re.search(told, capsys.readouterr().err.splitlines()[-1])  # which the doctor shows
    assert kept(tmp_path) == []
    assert not list((tmp_path / "plans").glob("*.plan"))
    trt.refuse = set()
    assert build("--se", "native") == 0


def test_kernels_that_cannot_be_built_leave_the_native_way(
    build: Build, trt: Trt, kernels: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(compute_capability: str) -> None:
        raise ExportError("Triton does not compile for this GPU.")

    kernels.register = refused
    assert build() == 0
    assert [list(known["seconds"]) for known in kept(tmp_path)] == [["native", "pooled"]]
    assert "SE plugin: Triton does not compile" in caplog.text
    assert build("--se", "plugin") == 1


def test_an_engine_that_answers_something_else_is_refused(
    build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """TensorRT has built such engines (NVIDIA/TensorRT #4813)."""
    from trt.runner import Runner

    run = Runner.run
    monkeypatch.setattr(Runner, "run", lambda self, *told: run(self, *told)[::-1])
    assert build("--se", "native") == 1
    assert "answers differ from the bundle's probe" in capsys.readouterr().err
    assert kept(tmp_path) == []


def test_kernels_that_are_wrong_for_one_batch_size_alone_are_refused(
    build: Build, trt: Trt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trt.wrong_size = 2
    assert build("--se", "native") == 1
    assert "answers differ from the bundle's probe" in capsys.readouterr().err
    assert kept(tmp_path) == []


def test_a_plan_whose_layers_are_not_told_is_kept_all_the_same(
    build: Build, trt: Trt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trt.refuse = {"inspect"}
    assert build("--se", "native") == 0
    assert kept(tmp_path)[0]["layers"] is None
    assert "reformat" not in capsys.readouterr().out


def test_what_cuda_raises_ends_one_way_and_not_the_others(
    build: Build, kernels: Any, gpu: Cuda, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(compute_capability: object) -> None:
        gpu.memory_bytes = 1000

    kernels.register = fill
    assert build() == 0
    assert [list(known["seconds"]) for known in kept(tmp_path)] == [["native", "pooled"]]
    gpu.memory_bytes = 1000
    assert build("--rebuild", "--se", "native") == 1
    assert "CUDAError: CUDA_ERROR_OUT_OF_MEMORY. Try while nothing else uses the GPU" in capsys.readouterr().err


def test_each_gpu_builds_its_own_plan(build: Build, gpu: Cuda, trt: Trt, tmp_path: Path) -> None:
    gpu.names = ["NVIDIA H200", "NVIDIA B200"]
    assert build("--se", "native", "--gpu", "1") == 0
    assert trt.built_on == [1]
    assert kept(tmp_path)[0]["target"]["gpu"] == "NVIDIA B200"


def test_a_bundle_of_an_earlier_export_is_refused_with_the_cure(
    build: Build, demo: Path, tmp_path: Path, trt: Trt, capsys: pytest.CaptureFixture[str]
) -> None:
    """The graph of an earlier export transposes the pixels before it casts them."""
    model = onnx.load_from_string(files.read(demo).graph("fp32")[1].read_bytes())
    cast, transpose = model.graph.node[:2]
    transpose.input[0], cast.input[0], cast.output[0] = "pixels", "first", transpose.output[0]
    transpose.output[0] = "first"
    first, second = onnx.NodeProto(), onnx.NodeProto()
    first.CopyFrom(transpose)
    second.CopyFrom(cast)
    model.graph.node[0].CopyFrom(first)
    model.graph.node[1].CopyFrom(second)
    from export.tensorrt.network import parse
    from tests.support import fake_tensorrt
    from trt.messages import messages

    with pytest.raises(ExportError, match=r"UInt8.* Export the bundle again"):
        parse(fake_tensorrt.Builder(messages()), model.SerializeToString(), messages())


@pytest.mark.parametrize("at", [0, 1000])
def test_ctrl_c_stops_tensorrt_at_its_next_step(
    build: Build, trt: Trt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Also where the signal comes while the build thread starts."""
    from export.tensorrt import build as building
    from export.tensorrt.monitor import BuildMonitor

    steps: list[int] = []

    class Interrupted(BuildMonitor):
        def step_complete(self, phase_name: str, step: int) -> bool:
            if len(steps) == at:
                os.kill(os.getpid(), signal.SIGINT)
            steps.append(step)
            return super().step_complete(phase_name, step)

    trt.steps, trt.step_s = 20_000, 1e-4  # a few seconds, in which other threads can run
    monkeypatch.setattr(building, "BuildMonitor", Interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            build("--se", "native")
    finally:
        signal.signal(signal.SIGINT, before)
    assert at < len(steps) < trt.steps
    assert not any(thread.name == "building" for thread in threading.enumerate())
    assert kept(tmp_path) == []


def test_progress_is_a_bar_of_the_longest_phase_and_never_goes_back(trt: Trt) -> None:
    from export.tensorrt.monitor import BuildMonitor

    told: list[tuple[int, int]] = []

    class RecordedProgress:
        def advance(self, done: int, total: int) -> None:
            told.append((done, total))

    watching = BuildMonitor(RecordedProgress())  # type: ignore[arg-type]
    watching.phase_start("Building engine", None, 6)
    for step in range(4):
        watching.step_complete("Building engine", step)
    assert told[-1] == (33, 1000)  # of all these steps, which take no time
    watching.phase_start("Unheard of", "Nothing", 2)
    watching.step_complete("Unheard of", 0)
    watching.phase_start("Computing profile costs", "Building engine from subgraph", 2)
    watching.phase_start("Timing tactics", "Computing profile costs", 4)
    assert watching.step_complete("Timing tactics", 1)
    assert told[-1] == (288, 1000)
    watching.phase_finish("Timing tactics")
    watching.phase_start("Timing tactics", "Computing profile costs", 4)  # a second one in the same step
    watching.step_complete("Timing tactics", 0)
    watching.step_complete("Computing profile costs", 0)
    assert told[-1] == (525, 1000)
    watching.step_complete("Computing profile costs", 7)  # more than was promised
    watching.phase_finish("Computing profile costs")
    watching.phase_finish("Building engine")
    assert told[-1] == (1000, 1000)
    assert told == sorted(set(told))
    watching.stop()
    assert not watching.step_complete("Building engine", 1)


@pytest.mark.parametrize(
    ("precisions", "proven", "expected"),
    [
        (("fp32",), (), ["fp32"]),
        (("fp32", "int8", "bf16"), ("int8", "bf16"), ["bf16"]),
        (("fp32", "fp16", "bf16", "int8-trt"), ("fp16", "int8-trt"), ["fp16", "int8-trt"]),
        (("fp32", "fp16", "bf16", "fp8"), ("fp16", "bf16", "fp8"), ["fp16", "bf16"]),
    ],
)
def test_what_is_built_by_itself_is_all_that_is_proven_below_fp32(
    demo: Path, precisions: tuple[str, ...], proven: tuple[str, ...], expected: list[str]
) -> None:
    bundle = files.read(demo)
    graph, row = bundle.manifest.graphs[0], bundle.manifest.parity[0]
    made_in = tuple(dataclasses.replace(graph, file=f"{name}.onnx", precision=name) for name in precisions)
    rows = tuple(dataclasses.replace(row, file=f"{name}.onnx", precision=name) for name in proven)
    manifest = dataclasses.replace(bundle.manifest, graphs=made_in, parity=rows)
    gpu = Gpu(0, "NVIDIA A100", "8.0", 108, "13.1")
    made = dataclasses.replace(bundle, manifest=manifest)
    assert graphs.worth_building(made, gpu) == expected
    older = dataclasses.replace(gpu, compute_capability="7.5")
    assert "bf16" not in graphs.worth_building(made, gpu, older)


def test_the_command_tells_people_what_it_built(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    assert build() == 0
    told = capsys.readouterr()
    assert "images/s" in told.out
    assert "1 reformat" in told.out
    assert "[1] " in told.err


def test_it_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom export.tensorrt import command\nassert not {'torch', 'tensorrt', 'triton'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_without_a_gpu_the_sentence_says_what_to_do(
    gpu: Cuda, demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.names = []
    monkeypatch.setattr(sys, "argv", ["export", "build-engine", str(demo)])
    with pytest.raises(SystemExit, match="1"):
        main.main()
    assert capsys.readouterr().err.startswith("export: No engine can be built: CUDA shows no GPU")


def test_a_gpu_that_is_not_there_is_told(gpu: Cuda, demo: Path) -> None:
    with pytest.raises(ExportError, match="There is no GPU 3: CUDA has 1, counted from 0"):
        command.run([str(demo), "--gpu", "3"])


def test_the_outlined_graph_is_what_tensorrt_gets(build: Build, trt: Trt) -> None:
    """TensorRT pools large maps, as the gate's kernel has only one block for an image."""
    assert build("--se", "plugin") == 0
    (model,) = trt.built
    onnx.checker.check_model(model, full_check=True)
    gates = {node.name: node.input[0] for node in model.graph.node if node.op_type == "SEGate"}
    assert len(gates) == 8
    assert logging.getLogger("tensorrt")
